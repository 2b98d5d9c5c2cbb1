/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Distributions put the same programs in different places, and a build folder is used as it is. A
 * search that fails says where it has looked, because that is the next question.
 */

#include "shim/locate.h"

#include "oci/buf.h"

#include <stdio.h>
#include <string.h>

#define BUILD_IMAGE "contrib/guest-image builds it"

bool locate_own(char ret[static PATH_MAX])
{
	ssize_t length = readlink("/proc/self/exe", ret, PATH_MAX - 1);

	if (length <= 0)
		return false;
	ret[length] = '\0';
	char *slash = strrchr(ret, '/');
	if (slash)
		*slash = '\0';
	return slash != NULL;
}

static int take_given(const char *what, const char *given, int mode, char ret[static PATH_MAX],
                      struct fault *fault)
{
	int n = snprintf(ret, PATH_MAX, "%s", given);

	if (n >= PATH_MAX)
		return fault_errno(fault, -ENAMETOOLONG, "%s", what);
	return access(ret, mode) < 0 ? fault_errno(fault, -errno, "%s \"%s\"", what, given) : 0;
}

int locate_guest(const char *what, const char *given, const char *const *names,
                 char ret[static PATH_MAX], struct fault *fault)
{
	char own[PATH_MAX], beside[PATH_MAX + 16] = "", above[PATH_MAX + 16] = "";
	const char *place = getenv("HVRUN_GUEST");

	if (given)
		return take_given(what, given, R_OK, ret, fault);
	if (locate_own(own)) {
		snprintf(beside, sizeof(beside), "%s/../guest", own);
		snprintf(above, sizeof(above), "%s/../../guest", own);
	}
	/* Who names a place means that one. */
	const char *const places[] = { place ? place : beside, place ? "" : HVRUN_LIBEXEC,
	                               place ? "" : above };
	for (size_t i = 0; i < array_size(places); i++) {
		for (const char *const *name = names; *places[i] && *name; name++) {
			int n = snprintf(ret, PATH_MAX, "%s/%s", places[i], *name);
			if (n < PATH_MAX && !access(ret, R_OK))
				return 0;
		}
	}
	return fault_set(fault, -ENOENT, HRESULT_NOT_FOUND,
	                 "%s is missing: there is no %s in %s%s%s; " BUILD_IMAGE, what, names[0],
	                 places[0], *places[1] ? " or " : "", places[1]);
}

int locate_program(const char *given, const char *const *paths, const char *name,
                   char ret[static PATH_MAX], struct fault *fault)
{
	struct buf tried = BUF(FAULT_TEXT);
	const char *path = getenv("PATH");

	if (given)
		return take_given(name, given, X_OK, ret, fault);
	for (; *paths; paths++) {
		if (!access(*paths, X_OK)) {
			buf_deinit(&tried);
			return take_given(name, *paths, X_OK, ret, fault);
		}
		(void)buf_printf(&tried, "%s, ", *paths);
	}
	for (const char *at = path ? path : ""; *at;) {
		size_t length = strcspn(at, ":");
		int n = snprintf(ret, PATH_MAX, "%.*s/%s", (int)length, at, name);
		if (length && *at == '/' && n < PATH_MAX && !access(ret, X_OK)) {
			buf_deinit(&tried);
			return 0;
		}
		at += length + (at[length] == ':');
	}
	int r = fault_set(fault, -ENOENT, HRESULT_NOT_FOUND,
	                  "%s is not installed (tried %.*sPATH)", name, (int)buf_length(&tried),
	                  buf_length(&tried) ? buf_head(&tried) : "");
	buf_deinit(&tried);
	return r;
}
