/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A machine that is smaller than its kernel does not fail: QEMU loads what fits, and the processor
 * runs into the rest. So it is looked at before.
 */

#include "shim/kernel_file.h"

#include "hvsocket/base.h"

#include <elf.h>
#include <string.h>

#define HEADERS_MAX 64

static uint64_t elf_memory(int fd, const Elf64_Ehdr *file)
{
	uint64_t end = 0;

	if (file->e_ident[EI_CLASS] != ELFCLASS64 || file->e_phentsize != sizeof(Elf64_Phdr))
		return 0;
	for (size_t i = 0; i < file->e_phnum && i < HEADERS_MAX; i++) {
		Elf64_Phdr header;
		if (pread(fd, &header, sizeof(header),
		          (off_t)(file->e_phoff + i * sizeof(header))) != sizeof(header))
			return 0;
		if (header.p_type == PT_LOAD && header.p_paddr + header.p_memsz > end)
			end = header.p_paddr + header.p_memsz;
	}
	return end;
}

/* Of the boot protocol's header, little endian like the machines that have it. */
#define SETUP_MAGIC 0x202
#define SETUP_PREFERRED 0x258   /* u64: where it is loaded */
#define SETUP_INIT_SIZE 0x260   /* u32: what it needs there */
#define SETUP_END 0x264

static uint64_t bzimage_memory(const uint8_t *setup)
{
	uint64_t preferred;
	uint32_t size;

	memcpy(&preferred, setup + SETUP_PREFERRED, sizeof(preferred));
	memcpy(&size, setup + SETUP_INIT_SIZE, sizeof(size));
	return preferred + size;
}

uint64_t kernel_file_memory(int fd)
{
	uint8_t start[SETUP_END];
	Elf64_Ehdr file;

	if (pread(fd, start, sizeof(start), 0) != (ssize_t)sizeof(start))
		return 0;
	memcpy(&file, start, sizeof(file));
	if (!memcmp(file.e_ident, ELFMAG, SELFMAG))
		return elf_memory(fd, &file);
	return !memcmp(start + SETUP_MAGIC, "HdrS", 4) ? bzimage_memory(start) : 0;
}
