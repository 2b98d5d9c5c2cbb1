/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Which lines are shown, and how. A line in pieces is put together by writing piece after piece to
 * the same stream, so that its length costs nothing; the first piece decides whether it is shown.
 */

#include "shim/logview.h"

#include <string.h>

/* "2026-11-22T03:04:05.123456789Z stdout F text" */
bool log_line_parse(const char *line, size_t length, struct log_line *ret)
{
	static const char names[LOGFILE_STREAMS][8] = { " stdout ", " stderr " };
	static const char form[] = "0000-00-00T00:00:00.000000000Z";
	const size_t time = TIME_TEXT - 1, prefix = time + sizeof(names[0]) + 1;
	if (length < prefix)
		return false;
	for (size_t i = 0; i < time; i++) {
		bool digit = line[i] >= '0' && line[i] <= '9';
		if (form[i] == '0' ? !digit : line[i] != form[i])
			return false;
	}
	for (int stream = 0; stream < LOGFILE_STREAMS; stream++) {
		char tag = line[prefix - 1];
		if (memcmp(line + time, names[stream], sizeof(names[0])) != 0)
			continue;
		/* Nothing but the tag, or a blank and the text, which may be empty. */
		if ((tag != 'F' && tag != 'P') || (length > prefix && line[prefix] != ' '))
			return false;
		size_t skip = length > prefix ? prefix + 1 : prefix;
		*ret = (struct log_line){ stream, tag == 'P', line, line + skip, length - skip };
		return true;
	}
	return false;
}

bool log_view_wants(const struct log_view *view, const char *line, size_t length, bool *ret_piece)
{
	struct log_line parsed;
	*ret_piece = false;
	if (view->raw || !log_line_parse(line, length, &parsed))
		return true;
	*ret_piece = parsed.piece;
	return view->stream < 0 || view->stream == parsed.stream;
}

static void check(struct log_view *view, FILE *out)
{
	if (ferror(out) && !view->error)
		view->error = errno ? -errno : -EIO;
}

static FILE *turn_to(struct log_view *view, int stream)
{
	if (stream != view->last) {
		fflush(view->out[view->last]);
		check(view, view->out[view->last]);
	}
	view->last = stream;
	return view->out[stream];
}

void log_view_line(struct log_view *view, const char *line, size_t length)
{
	struct log_line parsed;
	if (view->raw || !log_line_parse(line, length, &parsed)) {
		/* Somebody else has written here; better shown than swallowed. */
		FILE *out = turn_to(view, LOGFILE_STDOUT);
		fwrite(line, 1, length, out);
		putc('\n', out);
		check(view, out);
		return;
	}
	int stream = parsed.stream;
	bool first = !view->inside[stream];
	view->inside[stream] = parsed.piece;
	if (first)
		view->hidden[stream] = (view->stream >= 0 && view->stream != stream) ||
		                       memcmp(parsed.time, view->since, strlen(view->since)) < 0;
	if (view->hidden[stream])
		return;
	FILE *out = turn_to(view, stream);
	if (first && view->timestamps)
		fprintf(out, "%.*s ", TIME_TEXT - 1, parsed.time);
	fwrite(parsed.text, 1, parsed.size, out);
	if (!parsed.piece)
		putc('\n', out);
	check(view, out);
}

int log_view_flush(struct log_view *view)
{
	for (int i = 0; i < LOGFILE_STREAMS; i++) {
		fflush(view->out[i]);
		check(view, view->out[i]);
	}
	return view->error;
}
