/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The order that the kernel wants: the bounding set is cut first (which needs CAP_SETPCAP),
 * permitted is kept over the change of the uid, and then all four sets are set at once. Inheritable
 * and ambient are always written, so nothing of the agent's own is passed on.
 *
 * A capability may be inheritable without being in the bounding set (capabilities(7) says what that
 * is good for), but cannot become so later: such are made inheritable before the cut.
 */

#include "agent/caps.h"

#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>

#define BIT(cap) (UINT64_C(1) << (cap))
#define NAMES_MAX 2048

static const struct oci_capabilities no_capabilities;

static void free_caps(cap_t *caps)
{
	if (*caps)
		cap_free(*caps);
}

/* All that this kernel knows. */
static uint64_t known(void)
{
	int max = cap_max_bits();
	return max >= 64 ? UINT64_MAX : BIT(max) - 1;
}

static uint64_t flag_mask(cap_t caps, cap_flag_t flag)
{
	uint64_t mask = 0;
	for (int cap = 0; cap < 64 && known() & BIT(cap); cap++) {
		cap_flag_value_t value;
		if (cap_get_flag(caps, cap, flag, &value) == 0 && value == CAP_SET)
			mask |= BIT(cap);
	}
	return mask;
}

static int set_mask(cap_t caps, cap_flag_t flag, uint64_t mask)
{
	cap_value_t list[64];
	int n = 0;
	for (int cap = 0; cap < 64; cap++) {
		if (mask & BIT(cap))
			list[n++] = cap;
	}
	return n && cap_set_flag(caps, flag, n, list, CAP_SET) < 0 ? -errno : 0;
}

static int get_permitted(uint64_t *ret)
{
	cleanup(free_caps) cap_t caps = cap_get_proc();
	if (!caps)
		return -errno;
	*ret = flag_mask(caps, CAP_PERMITTED);
	return 0;
}

char *caps_lacking(const struct oci_capabilities *caps, bool user_namespace)
{
	uint64_t ours = known();
	if (!caps || (!user_namespace && get_permitted(&ours) < 0))
		return NULL;
	uint64_t lacking = (caps->bounding | caps->effective | caps->permitted | caps->inheritable |
	                    caps->ambient) & ~ours;
	/* The kernel's condition. */
	lacking |= caps->ambient & ~(caps->permitted & caps->inheritable);
	char *text = lacking ? calloc(1, NAMES_MAX) : NULL;
	size_t length = 0;
	for (const struct json_name *n = oci_capability_names; text && n->name; n++) {
		size_t size = strlen(n->name);
		if (!(lacking & BIT(n->value)) || length + size + 3 > NAMES_MAX)
			continue;
		if (length) {
			memcpy(text + length, ", ", 2);
			length += 2;
		}
		memcpy(text + length, n->name, size + 1);
		length += size;
	}
	return text;
}

static int inherit_unbound(uint64_t inheritable)
{
	cleanup(free_caps) cap_t sets = inheritable ? cap_get_proc() : NULL;
	if (!inheritable)
		return 0;
	if (!sets)
		return -errno;
	inheritable &= flag_mask(sets, CAP_PERMITTED);
	int r = set_mask(sets, CAP_INHERITABLE, inheritable);
	return r < 0 ? r : cap_set_proc(sets) < 0 ? -errno : 0;
}

int caps_bound(const struct oci_capabilities *caps, struct fault *fault)
{
	uint64_t bounding = caps ? caps->bounding : 0, all = known();
	int r = inherit_unbound(caps ? caps->inheritable & ~bounding : 0);
	if (r < 0)
		return fault_errno(fault, r, "capabilities: set inheritable");
	for (int cap = 0; cap < 64 && all & BIT(cap); cap++) {
		if (!(bounding & BIT(cap)) && cap_drop_bound(cap) < 0)
			return fault_errno(fault, -errno, "capability %d: out of the bounding set",
					   cap);
	}
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return fault_errno(fault, -errno,
				   "capabilities: keep them over the change of user");
	return 0;
}

int caps_regain(struct fault *fault)
{
	cleanup(free_caps) cap_t caps = cap_get_proc();
	if (!caps || set_mask(caps, CAP_EFFECTIVE, BIT(CAP_SYS_ADMIN)) < 0 ||
	    cap_set_proc(caps) < 0)
		return fault_errno(fault, -errno, "CAP_SYS_ADMIN for the seccomp filter");
	return 0;
}

int caps_apply(const struct oci_capabilities *asked, struct fault *fault)
{
	const struct oci_capabilities *caps = asked ? asked : &no_capabilities;
	if (caps->effective & ~caps->permitted)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "capabilities: effective has more than permitted");
	cleanup(free_caps) cap_t sets = cap_get_proc();
	if (!sets)
		return fault_errno(fault, -errno, "capabilities: read");
	uint64_t ours = flag_mask(sets, CAP_PERMITTED);
	uint64_t permitted = caps->permitted & ours;
	uint64_t inheritable = caps->inheritable & ours;
	uint64_t ambient = caps->ambient & permitted & inheritable;

	if (cap_clear(sets) < 0 || set_mask(sets, CAP_PERMITTED, permitted) < 0 ||
	    set_mask(sets, CAP_EFFECTIVE, caps->effective & permitted) < 0 ||
	    set_mask(sets, CAP_INHERITABLE, inheritable) < 0 || cap_set_proc(sets) < 0)
		return fault_errno(fault, -errno, "capabilities: set");
	/* libcap's cap_reset_ambient() asks for each one first, which is 41 calls more. */
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return fault_errno(fault, -errno, "capabilities: clear ambient");
	for (int cap = 0; cap < 64; cap++) {
		if (ambient & BIT(cap) && cap_set_ambient(cap, CAP_SET) < 0)
			return fault_errno(fault, -errno, "capability %d: ambient", cap);
	}
	return 0;
}
