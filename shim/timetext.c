/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Durations are written as Go's, whose users are ours. Fractions are kept to the nanosecond,
 * without floating point, so that 0.1 s is what it says.
 */

#include "shim/timetext.h"

#include <ctype.h>
#include <string.h>

#define SECOND 1000000000u

static const struct unit {
	const char *name;
	uint64_t nanoseconds;
} units[] = {
	{ "ns", 1 },
	{ "us", 1000 },
	{ "ms", 1000000 },
	{ "s", SECOND },
	{ "m", 60ull * SECOND },
	{ "h", 3600ull * SECOND },
	{ "d", 86400ull * SECOND },
};

/* "12" or "12.34" before anything else, in units of so many nanoseconds. */
struct decimal {
	uint64_t whole, fraction, scale; /* fraction / scale */
};

static const char *parse_decimal(const char *text, struct decimal *ret)
{
	*ret = (struct decimal){ .scale = 1 };
	if (!isdigit((unsigned char)*text))
		return NULL;
	for (; isdigit((unsigned char)*text); text++) {
		if (__builtin_mul_overflow(ret->whole, 10, &ret->whole) ||
		    __builtin_add_overflow(ret->whole, (uint64_t)(*text - '0'), &ret->whole))
			return NULL;
	}
	if (*text != '.')
		return text;
	if (!isdigit((unsigned char)*++text))
		return NULL;
	for (; isdigit((unsigned char)*text); text++) {
		if (ret->scale >= SECOND)
			continue; /* finer than we count */
		ret->fraction = ret->fraction * 10 + (uint64_t)(*text - '0');
		ret->scale *= 10;
	}
	return text;
}

static const struct unit *find_unit(const char *text, size_t length)
{
	for (size_t i = 0; i < array_size(units); i++) {
		if (strlen(units[i].name) == length && !strncmp(units[i].name, text, length))
			return &units[i];
	}
	return NULL;
}

/* Adds a decimal of that unit. */
static bool add(uint64_t *sum, const struct decimal *decimal, uint64_t unit)
{
	/* At most 10^9 ns × 86400 × 10^9: only days and hours need care, and lose nothing. */
	uint64_t whole, part = unit * decimal->fraction / decimal->scale;
	if (unit > SECOND)
		part = unit / SECOND * (decimal->fraction * (SECOND / decimal->scale));
	return !__builtin_mul_overflow(decimal->whole, unit, &whole) &&
	       !__builtin_add_overflow(*sum, whole, sum) &&
	       !__builtin_add_overflow(*sum, part, sum);
}

int duration_parse(const char *text, uint64_t *ret_nanoseconds)
{
	uint64_t sum = 0;
	bool first = true;
	do {
		struct decimal decimal;
		text = parse_decimal(text, &decimal);
		if (!text)
			return -EINVAL;
		size_t length = 0;
		while (isalpha((unsigned char)text[length]))
			length++;
		const struct unit *unit = find_unit(text, length);
		if (!unit && first && !*text)
			unit = find_unit("s", 1);
		if (!unit || !add(&sum, &decimal, unit->nanoseconds))
			return -EINVAL;
		text += length;
		first = false;
	} while (*text);
	*ret_nanoseconds = sum;
	return 0;
}

/* Exactly `digits` digits in [min, max], then the character `end` (0: anything). */
static const char *parse_field(const char *text, int digits, int min, int max, char end, int *ret)
{
	int value = 0;
	for (int i = 0; text && i < digits; i++, text++) {
		if (!isdigit((unsigned char)*text))
			return NULL;
		value = value * 10 + (*text - '0');
	}
	if (!text || value < min || value > max || (end && *text != end))
		return NULL;
	*ret = value;
	return end ? text + 1 : text;
}

/* "Z", "+01:00": seconds east of Greenwich. */
static const char *parse_zone(const char *text, int *ret)
{
	int hours = 0, minutes = 0;
	bool west = *text == '-';
	if (*text == 'Z' || *text == 'z') {
		*ret = 0;
		return text + 1;
	}
	if (*text != '+' && !west)
		return NULL;
	text = parse_field(text + 1, 2, 0, 23, ':', &hours);
	text = parse_field(text, 2, 0, 59, 0, &minutes);
	*ret = (hours * 60 + minutes) * 60 * (west ? -1 : 1);
	return text;
}

int time_parse(const char *text, struct timespec *ret)
{
	struct tm tm = { 0 };
	struct decimal second = { .scale = 1 };
	int zone = 0, ignored;
	text = parse_field(text, 4, 0, 9999, '-', &tm.tm_year);
	text = parse_field(text, 2, 1, 12, '-', &tm.tm_mon);
	text = parse_field(text, 2, 1, 31, 0, &tm.tm_mday);
	if (!text || !*text || !strchr("Tt ", *text))
		return -EINVAL;
	text = parse_field(text + 1, 2, 0, 23, ':', &tm.tm_hour);
	text = parse_field(text, 2, 0, 59, ':', &tm.tm_min);
	if (!text || !parse_field(text, 2, 0, 60, 0, &ignored))
		return -EINVAL;
	text = parse_decimal(text, &second);
	text = text ? parse_zone(text, &zone) : NULL;
	if (!text || *text)
		return -EINVAL;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	tm.tm_sec = (int)second.whole;
	int day = tm.tm_mday;
	time_t seconds = timegm(&tm);
	if (tm.tm_mday != day && second.whole < 60)
		return -EINVAL; /* the 30th of February */
	ret->tv_sec = seconds - zone;
	ret->tv_nsec = (long)(second.fraction * (SECOND / second.scale));
	return 0;
}

int since_parse(const char *text, const struct timespec *now, struct timespec *ret)
{
	struct decimal unix_time;
	uint64_t ago;
	const char *end = parse_decimal(text, &unix_time);
	if (end && !*end && unix_time.whole <= INT64_MAX) {
		ret->tv_sec = (time_t)unix_time.whole;
		ret->tv_nsec = (long)(unix_time.fraction * (SECOND / unix_time.scale));
		return 0;
	}
	if (duration_parse(text, &ago) < 0)
		return time_parse(text, ret);
	ret->tv_sec = now->tv_sec - (time_t)(ago / SECOND);
	ret->tv_nsec = now->tv_nsec - (long)(ago % SECOND);
	if (ret->tv_nsec < 0) {
		ret->tv_nsec += SECOND;
		ret->tv_sec--;
	}
	return 0;
}
