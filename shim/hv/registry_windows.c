/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The registry of Windows, always its 64-bit view, which is the one that Hyper-V reads. Names of
 * keys do not tell upper from lower case there.
 */

#include "shim/hv/service.h"

#include <windows.h>

#include <winreg.h>

#define WIDE_NAME 260

/* L"" of a macro. */
#define WIDE_(text) L##text
#define WIDE(text) WIDE_(text)

static const wchar_t services_key[] = WIDE(HV_SERVICES_KEY);
static const wchar_t element_name[] = L"ElementName";

static int to_errno(LSTATUS status)
{
	static const struct {
		LSTATUS status;
		int error;
	} table[] = {
		{ ERROR_SUCCESS, 0 },
		{ ERROR_FILE_NOT_FOUND, -ENOENT },
		{ ERROR_PATH_NOT_FOUND, -ENOENT },
		{ ERROR_KEY_DELETED, -ENOENT },
		{ ERROR_NO_MORE_ITEMS, -ENOENT },
		{ ERROR_ACCESS_DENIED, -EACCES },
		{ ERROR_PRIVILEGE_NOT_HELD, -EACCES },
		{ ERROR_NOT_ENOUGH_MEMORY, -ENOMEM },
	};
	for (size_t i = 0; i < array_size(table); i++) {
		if (table[i].status == status)
			return table[i].error;
	}
	return -EIO;
}

static void close_key(HKEY *key)
{
	if (*key)
		(void)RegCloseKey(*key);
}
#define cleanup_key cleanup(close_key)

static int open_services(HKEY *ret)
{
	return to_errno(RegOpenKeyExW(HKEY_LOCAL_MACHINE, services_key, 0,
	                              KEY_READ | KEY_WOW64_64KEY, ret));
}

static void key_name(const struct hv_guid *id, wchar_t wide[static HV_GUID_TEXT])
{
	char text[HV_GUID_TEXT];
	reg_key(id, text);
	for (size_t i = 0; i < HV_GUID_TEXT; i++)
		wide[i] = (wchar_t)text[i];
}

/* Empty where there is no such value, or one that is no short text. Others may write anything. */
static void read_text(HKEY key, const wchar_t *name, char text[static HV_SERVICE_NAME])
{
	wchar_t wide[WIDE_NAME];
	DWORD size = sizeof(wide);
	text[0] = '\0';
	if (RegGetValueW(key, NULL, name, RRF_RT_REG_SZ, NULL, wide, &size) == ERROR_SUCCESS &&
	    !WideCharToMultiByte(CP_UTF8, 0, wide, -1, text, HV_SERVICE_NAME, NULL, NULL))
		text[0] = '\0';
	for (char *c = text; *c; c++)
		*c = (unsigned char)*c < ' ' || *c == 0x7f ? '?' : *c;
}

static int read_service(const struct hv_guid *id, struct hv_registered *ret)
{
	cleanup_key HKEY services = NULL, key = NULL;
	wchar_t name[HV_GUID_TEXT];
	char tag[HV_SERVICE_NAME];
	int r = open_services(&services);
	if (r < 0)
		return r;
	key_name(id, name);
	r = to_errno(RegOpenKeyExW(services, name, 0, KEY_READ | KEY_WOW64_64KEY, &key));
	if (r < 0)
		return r;
	*ret = (struct hv_registered){ .id = *id };
	read_text(key, element_name, ret->name);
	read_text(key, WIDE(HV_SERVICE_TAG), tag);
	ret->ours = strcmp(tag, HV_SERVICE_TAG_TEXT) == 0;
	return 0;
}

static int service_at(unsigned index, struct hv_registered *ret)
{
	cleanup_key HKEY services = NULL;
	wchar_t wide[WIDE_NAME];
	DWORD size = array_size(wide);
	char text[WIDE_NAME];
	struct hv_guid id;
	int r = open_services(&services);
	if (r >= 0)
		r = to_errno(RegEnumKeyExW(services, index, wide, &size, NULL, NULL, NULL, NULL));
	if (r < 0)
		return r;
	if (!WideCharToMultiByte(CP_UTF8, 0, wide, -1, text, sizeof(text), NULL, NULL) ||
	    hv_guid_parse(text, &id) < 0)
		return -EINVAL;
	return read_service(&id, ret);
}

static int write_text(HKEY key, const wchar_t *name, const char *text)
{
	wchar_t wide[WIDE_NAME];
	int length = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, wide, WIDE_NAME);
	if (!length)
		return -EINVAL;
	return to_errno(RegSetValueExW(key, name, 0, REG_SZ, (const BYTE *)wide,
	                               (DWORD)((size_t)length * sizeof(*wide))));
}

static int write_service(const struct hv_registered *service)
{
	cleanup_key HKEY services = NULL, key = NULL;
	wchar_t name[HV_GUID_TEXT];
	key_name(&service->id, name);
	int r = to_errno(RegCreateKeyExW(HKEY_LOCAL_MACHINE, services_key, 0, NULL, 0,
	                                 KEY_CREATE_SUB_KEY | KEY_WOW64_64KEY, NULL, &services,
	                                 NULL));
	if (r >= 0)
		r = to_errno(RegCreateKeyExW(services, name, 0, NULL, 0,
		                             KEY_SET_VALUE | KEY_WOW64_64KEY, NULL, &key, NULL));
	/* The tag first: what is left by a failure can be removed. */
	if (r >= 0)
		r = write_text(key, WIDE(HV_SERVICE_TAG), HV_SERVICE_TAG_TEXT);
	if (r >= 0)
		r = write_text(key, element_name, service->name);
	return r;
}

static int remove_service(const struct hv_guid *id)
{
	cleanup_key HKEY services = NULL;
	wchar_t name[HV_GUID_TEXT];
	int r = open_services(&services);
	if (r < 0)
		return r;
	key_name(id, name);
	return to_errno(RegDeleteKeyExW(services, name, KEY_WOW64_64KEY, 0));
}

const struct registry registry_system = {
	.writable = true,
	.read = read_service,
	.at = service_at,
	.write = write_service,
	.remove = remove_service,
};
