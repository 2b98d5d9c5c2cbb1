/* SPDX-License-Identifier: Apache-2.0 */

/*
 * QEMU begins with a greeting, wants qmp_capabilities before anything else, and takes one command
 * after the other, so those that are sent early wait in the socket. A command is sent with one
 * write: a descriptor that goes along must arrive with the line that names it. It answers within
 * milliseconds or not at all; the end of the process ends whatever is under way, so nothing here
 * needs a clock.
 */

#include "shim/qmp.h"

#include "oci/log.h"

#include <string.h>
#include <sys/socket.h>

#define LINE_MAX_IN (1u << 20)
#define COMMAND_MAX (64u << 10)
#define READ_SIZE 16384
#define DRAIN_READS 64
#define CALLS_MAX 256           /* descriptors that QEMU has not taken are kept by the kernel */

const char *qmp_text(const struct json *object, const char *name)
{
	const struct json *value = object ? json_get(object, name) : NULL;

	return value && value->kind == JSON_STRING ? value->text : "";
}

/* Answers */

static void finish(struct qmp_call *call, const struct json *value, const struct fault *fault)
{
	qmp_answer_fn *answer = call->answer;

	call->answer = NULL;
	answer(call, value, fault);
}

static void unlist(struct qmp *qmp, struct qmp_call *call)
{
	struct qmp_call **at = &qmp->calls;

	while (*at && *at != call)
		at = &(*at)->next;
	if (*at)
		*at = call->next;
	call->next = NULL;
}

static void lost(struct qmp *qmp, const char *why)
{
	struct fault fault = FAULT_NULL;

	source_close(&qmp->source);
	while (qmp->calls) {
		struct qmp_call *call = qmp->calls;
		unlist(qmp, call);
		fault_set(&fault, -EPIPE, HRESULT_FAIL, "QEMU: %s: %s", call->command, why);
		finish(call, NULL, &fault);
	}
}

static void on_answer(struct qmp *qmp, const struct json *message)
{
	const struct json *id = json_get(message, "id"), *value = json_get(message, "return");
	const struct json *error = json_get(message, "error");
	struct fault fault = FAULT_NULL;
	struct qmp_call *call = qmp->calls;

	uint64_t number = id && id->kind == JSON_NUMBER ? strtoull(id->text, NULL, 10) : 0;
	while (call && call->id != number)
		call = call->next;
	/* Of one that was forgotten, or about a line that QEMU could not read. */
	if (!call) {
		log_debug("QEMU: %s", error ? qmp_text(error, "desc") : "a late answer");
		return;
	}
	unlist(qmp, call);
	if (error || !value)
		fault_set(&fault, -EIO, HRESULT_FAIL, "QEMU: %s: %s", call->command,
		          error ? qmp_text(error, "desc") : "an answer without a result");
	finish(call, error ? NULL : value, error || !value ? &fault : NULL);
}

static int on_line(struct qmp *qmp, const char *line, size_t size)
{
	struct arena arena = ARENA(JSON_ARENA);
	struct fault fault = FAULT_NULL;
	struct json message;
	int r = json_parse(&arena, line, size, &message, &fault);

	if (r < 0)
		log_warning("QEMU: %s", fault.text);
	else if (json_get(&message, "event"))
		qmp->ops->event(qmp, qmp_text(&message, "event"), json_get(&message, "data"));
	else if (json_get(&message, "QMP"))
		qmp->greeted = true;
	else
		on_answer(qmp, &message);
	arena_free(&arena);
	return r;
}

/* Whoever is called may end us. */
static int take_lines(struct qmp *qmp)
{
	int r = 0;

	while (r >= 0 && qmp->source.fd >= 0) {
		const char *head = buf_length(&qmp->in) ? buf_head(&qmp->in) : NULL;
		const char *end = head ? memchr(head, '\n', buf_length(&qmp->in)) : NULL;
		if (!end)
			break;
		size_t size = (size_t)(end - head);
		cleanup_free char *line = strndup(head, size);
		if (!line)
			return -ENOMEM;
		buf_consume(&qmp->in, size + 1);
		if (strspn(line, " \t\r") < size)
			r = on_line(qmp, line, size);
	}
	return r;
}

static int receive(struct qmp *qmp)
{
	char *at = buf_reserve(&qmp->in, min_size(READ_SIZE, buf_room(&qmp->in)));

	if (!at || !buf_room(&qmp->in))
		return -EMSGSIZE;
	ssize_t n = recv(qmp->source.fd, at, min_size(READ_SIZE, buf_room(&qmp->in)), MSG_DONTWAIT);
	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	if (n == 0)
		return -EPIPE;
	buf_commit(&qmp->in, (size_t)n);
	return take_lines(qmp);
}

static int receive_or_lose(struct qmp *qmp)
{
	int r = receive(qmp);

	if (r < 0 && r != -EAGAIN && qmp->source.fd >= 0) {
		lost(qmp, r == -EPIPE || r == -ECONNRESET ? "it has ended" : errno_text(r));
		qmp->ops->lost(qmp);
	}
	return r;
}

void qmp_drain(struct qmp *qmp)
{
	for (int i = 0; i < DRAIN_READS && qmp->source.fd >= 0; i++) {
		if (receive_or_lose(qmp) < 0)
			break;
	}
}

static int on_readable(struct source *source, uint32_t got)
{
	(void)got;
	struct qmp *qmp = container_of(source, struct qmp, source);

	(void)receive_or_lose(qmp);
	return 0;
}

/* Commands */

static int send_line(struct qmp *qmp, const struct buf *line, int fd)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec bytes = {
		.iov_base = (void *)(uintptr_t)buf_head(line),
		.iov_len = buf_length(line),
	};
	struct msghdr message = { .msg_iov = &bytes, .msg_iovlen = 1 };

	if (fd >= 0) {
		message.msg_control = control.space;
		message.msg_controllen = sizeof(control.space);
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	}
	ssize_t n = sendmsg(qmp->source.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN ? -EBUSY : -errno;
	/* A line that was cut would spoil the next one. */
	return (size_t)n == bytes.iov_len ? 0 : -EMSGSIZE;
}

int qmp_send(struct qmp *qmp, struct qmp_call *call, const char *command, const char *arguments,
             int fd, qmp_answer_fn *answer, struct fault *fault)
{
	struct buf line = BUF(COMMAND_MAX);
	int r = qmp->source.fd < 0 ? -EPIPE : 0;
	unsigned count = 0;

	for (const struct qmp_call *other = qmp->calls; other; other = other->next)
		count++;
	if (r >= 0 && count >= CALLS_MAX)
		r = -EBUSY;
	if (r >= 0)
		r = buf_printf(&line, "{\"execute\":\"%s\",\"id\":%llu%s%s}\n", command,
		               (unsigned long long)qmp->next_id, arguments ? ",\"arguments\":" : "",
		               arguments ? arguments : "");
	if (r >= 0)
		r = send_line(qmp, &line, fd);
	buf_deinit(&line);
	if (r < 0)
		return fault_errno(fault, r, "QEMU: %s", command);
	*call = (struct qmp_call){
		.id = qmp->next_id++,
		.command = command,
		.answer = answer,
		.next = qmp->calls,
	};
	qmp->calls = call;
	return 0;
}

static void on_greeting(struct qmp_call *call, const struct json *value, const struct fault *fault)
{
	struct qmp *qmp = container_of(call, struct qmp, greeting);

	(void)value;
	if (fault)
		log_warning("%s", fault->text);
	else if (qmp->ops->made)
		qmp->ops->made(qmp);
}

int qmp_init(struct qmp *qmp, struct loop *loop, int fd, const struct qmp_ops *ops)
{
	*qmp = (struct qmp){
		.ops = ops,
		.source = SOURCE_NULL,
		.in = BUF(LINE_MAX_IN),
		.next_id = 1,
	};
	int r = source_init(&qmp->source, loop, fd, EPOLLIN, on_readable);
	if (r < 0) {
		close(fd);
		return r;
	}
	return qmp_send(qmp, &qmp->greeting, "qmp_capabilities", NULL, -1, on_greeting, NULL);
}

void qmp_deinit(struct qmp *qmp)
{
	lost(qmp, "it has ended");
	buf_deinit(&qmp->in);
}
