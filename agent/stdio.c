/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A stream is attached when the program runs, not before: what an exec that fails would have said
 * goes into the answer. From then on nothing here waits: output is read when it can leave
 * (oci/stream.h), input is granted as it is written, and the exit carries offsets.
 *
 * A terminal is different. When its session leader exits, the kernel hangs it up and the master
 * reads EIO behind the last byte, so END tells where the output ends. Now and then a process that
 * was left behind still holds it. Then, and only then, the line discipline gets a few
 * milliseconds to settle, and the offset is told in a notification, so that the host need not
 * wait for the stranger.
 */

#include "agent/stdio.h"

#include "agent/agent.h"
#include "agent/process.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#define SETTLE 10               /* milliseconds */
#define SETTLE_MAX 1000         /* milliseconds between looks at a terminal whose reader is slow */

static struct loop *stdio_loop(struct stdio *stdio)
{
	return &stdio->process->agent->loop;
}

static struct bridge *stdio_bridge(struct stdio *stdio)
{
	return &stdio->process->agent->bridge;
}

static int make_pipe(struct stdio_end *end, bool to_process)
{
	int fd[2];
	if (pipe2(fd, O_CLOEXEC) < 0)
		return -errno;
	end->ours = to_process ? fd[1] : fd[0];
	end->theirs = to_process ? fd[0] : fd[1];
	/* Only our end: the other is the container's open file. */
	return fcntl(end->ours, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

int stdio_init(struct stdio *stdio, struct process *process, bool terminal)
{
	*stdio = (struct stdio){
		.process = process,
		.terminal = terminal,
		.in = INLET_NULL,
		.settle = TIMER_NULL,
	};
	for (int i = 0; i < STDIO_COUNT; i++) {
		stdio->end[i] = (struct stdio_end){
			.stdio = stdio,
			.ours = -1,
			.theirs = -1,
			.connection = -1,
			.outlet = OUTLET_NULL,
			.drain = SOURCE_NULL,
			.relay = RELAY_NULL,
		};
	}
	for (int i = 0; i < STDIO_COUNT && !terminal; i++) {
		int error = make_pipe(&stdio->end[i], i == STDIO_IN);
		if (error < 0)
			return error;
	}
	return 0;
}

void stdio_spawned(struct stdio *stdio)
{
	for (int i = 0; i < STDIO_COUNT; i++)
		close_fd(&stdio->end[i].theirs);
}

struct dialling {
	struct dialer dialer;
	struct stdio *stdio;
};

static void end_dialling(struct stdio *stdio)
{
	if (stdio->dialling)
		dialer_deinit(&stdio->dialling->dialer);
	free(take_pointer(stdio->dialling));
}

void stdio_deinit(struct stdio *stdio)
{
	if (!stdio->process)
		return;
	inlet_deinit(&stdio->in);
	timer_deinit(&stdio->settle);
	end_dialling(stdio);
	for (int i = 0; i < STDIO_COUNT; i++) {
		struct stdio_end *end = &stdio->end[i];
		outlet_deinit(&end->outlet);
		source_deinit(&end->drain);
		relay_deinit(&end->relay);
		close_fd(&end->ours);
		close_fd(&end->theirs);
		close_fd(&end->connection);
		end->open = false;
	}
}

int stdio_terminal(struct stdio *stdio, int master_fd)
{
	stdio->end[STDIO_IN].ours = master_fd;
	/* Two of them: input and output wait for readiness on their own. */
	int copy = fcntl(master_fd, F_DUPFD_CLOEXEC, 3);
	stdio->end[STDIO_OUT].ours = copy;
	return copy < 0 ? -errno : 0;
}

void stdio_attach_streams(struct stdio *stdio, const struct stdio_streams *streams)
{
	stdio->end[STDIO_IN].stream = streams->in;
	stdio->end[STDIO_OUT].stream = streams->out;
	stdio->end[STDIO_ERR].stream = stdio->terminal ? 0 : streams->err;
	stdio->window = streams->window;
	stdio->generation = stdio_bridge(stdio)->generation;
}

static void ports_connected(struct dialer *dialer, int error)
{
	struct stdio *stdio = container_of(dialer, struct dialling, dialer)->stdio;
	end_dialling(stdio);
	if (error < 0)
		stdio_detach_ports(stdio);
	stdio->connected(stdio->process, error);
}

void stdio_detach_ports(struct stdio *stdio)
{
	end_dialling(stdio);
	for (int i = 0; i < STDIO_COUNT; i++)
		close_fd(&stdio->end[i].connection);
}

static void wanted_flags(const struct stdio *stdio, const struct process_parameters *wanted,
                         bool ret[static STDIO_COUNT])
{
	ret[STDIO_IN] = wanted->create_stdin_pipe;
	ret[STDIO_OUT] = wanted->create_stdout_pipe;
	ret[STDIO_ERR] = wanted->create_stderr_pipe && !stdio->terminal;
}

void stdio_leave_out(struct stdio *stdio, const struct process_parameters *wanted,
                     const struct stdio_streams *streams)
{
	bool flag[STDIO_COUNT];
	wanted_flags(stdio, wanted, flag);
	if (streams) {
		flag[STDIO_IN] = streams->in;
		flag[STDIO_OUT] = streams->out;
		flag[STDIO_ERR] = streams->err;
	}
	for (int i = 0; i < STDIO_COUNT; i++) {
		if (flag[i])
			continue;
		close_fd(&stdio->end[i].ours);
		close_fd(&stdio->end[i].theirs);
	}
}

int stdio_attach_ports(struct stdio *stdio, const struct process_parameters *wanted,
                       const struct stdio_ports *ports,
                       void (*connected)(struct process *process, int error))
{
	const struct bridge *bridge = stdio_bridge(stdio);
	bool flag[STDIO_COUNT];
	const uint32_t port[STDIO_COUNT] = {
		ports ? ports->in : 0,
		ports ? ports->out : 0,
		ports ? ports->err : 0,
	};
	struct dialling *dialling = stdio->dialling = malloc(sizeof(*dialling));
	if (!dialling)
		return -ENOMEM;
	struct dialer *dialer = &dialling->dialer;
	*dialling = (struct dialling){ .dialer = DIALER_NULL, .stdio = stdio };
	wanted_flags(stdio, wanted, flag);
	stdio->connected = connected;
	for (int i = 0; i < STDIO_COUNT; i++) {
		if (!flag[i])
			continue;
		dialer->endpoint[dialer->count] = bridge_endpoint(bridge, port[i]);
		dialer->fd[dialer->count++] = &stdio->end[i].connection;
	}
	return dialer_start(dialer, stdio_loop(stdio), &bridge->machine, ports_connected);
}

/* Session mode */

static int drain_ready(struct source *source, uint32_t got)
{
	(void)got;
	static char nowhere[16384];
	struct stdio_end *end = container_of(source, struct stdio_end, drain);
	ssize_t n = read(end->ours, nowhere, sizeof(nowhere));
	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return 0;
	source_deinit(&end->drain);
	close_fd(&end->ours);
	process_stdio_finished(end->stdio->process);
	return 0;
}

/* Nobody wants the output, but a process that finds its pipe closed may die of it. */
static void drain_start(struct stdio_end *end)
{
	if (end->ours < 0)
		return;
	int error =
		source_init(&end->drain, stdio_loop(end->stdio), end->ours, EPOLLIN, drain_ready);
	if (error < 0)
		close_fd(&end->ours);
}

static void output_ended(struct outlet *outlet, uint32_t reason)
{
	(void)reason;
	struct stdio_end *end = container_of(outlet, struct stdio_end, outlet);
	end->ended_at = outlet->sent;
	end->open = false;
	outlet_deinit(outlet);
	close_fd(&end->ours);
	process_stdio_finished(end->stdio->process);
}

static void output_lost(struct outlet *outlet)
{
	struct stdio_end *end = container_of(outlet, struct stdio_end, outlet);
	outlet_deinit(outlet);
	end->open = false;
	drain_start(end);
}

static const struct outlet_ops output_ops = { .ended = output_ended, .lost = output_lost };

static void input_closed(struct inlet *inlet)
{
	struct stdio *stdio = container_of(inlet, struct stdio, in);
	stdio->end[STDIO_IN].open = false;
	close_fd(&stdio->end[STDIO_IN].ours);
}

/* With a terminal too: only our own descriptor of the master is closed. */
static void input_ended(struct inlet *inlet, uint32_t reason)
{
	(void)reason;
	if (inlet->end_received)
		inlet_deinit(inlet);
	input_closed(inlet);
}

static void input_lost(struct inlet *inlet)
{
	inlet_deinit(inlet);
	input_closed(inlet);
}

static const struct inlet_ops input_ops = { .ended = input_ended, .lost = input_lost };

static int start_stream(struct stdio *stdio, int i)
{
	struct stdio_end *end = &stdio->end[i];
	struct channel *channel = &stdio_bridge(stdio)->channel;
	int error;
	if (i == STDIO_IN)
		error = inlet_init(&stdio->in, channel, end->stream, end->ours, STREAM_WINDOW, true,
		                   &input_ops);
	else
		error = outlet_init(&end->outlet, channel, end->stream, end->ours, stdio->window,
		                    stdio->terminal, &output_ops);
	end->open = !error;
	return error;
}

/* Plain mode */

static void relay_finished(struct relay *relay)
{
	struct stdio_end *end = container_of(relay, struct stdio_end, relay);
	process_stdio_finished(end->stdio->process);
}

static int start_relay(struct stdio *stdio, int i)
{
	struct stdio_end *end = &stdio->end[i];
	return relay_start(&end->relay, stdio_loop(stdio), take_fd(&end->connection),
	                   take_fd(&end->ours), i != STDIO_IN, stdio->terminal,
	                   &stdio_bridge(stdio)->half_close, relay_finished);
}

/* The host is about to learn that nothing was started, so it must not hear of streams any more. */
static void forget_streams(struct stdio *stdio)
{
	if (stdio->end[STDIO_IN].open)
		inlet_forget(&stdio->in);
	for (int i = 0; i < STDIO_COUNT; i++) {
		if (i != STDIO_IN && stdio->end[i].open)
			outlet_forget(&stdio->end[i].outlet);
		stdio->end[i].open = false;
	}
}

int stdio_start(struct stdio *stdio)
{
	struct bridge *bridge = stdio_bridge(stdio);
	bool streams = bridge_in_session(bridge) && stdio->generation == bridge->generation;
	for (int i = 0; i < STDIO_COUNT; i++) {
		struct stdio_end *end = &stdio->end[i];
		int error = 0;
		if (end->ours < 0)
			continue;
		if (end->connection >= 0)
			error = start_relay(stdio, i);
		else if (end->stream && streams)
			error = start_stream(stdio, i);
		else if (i != STDIO_IN)
			drain_start(end);
		else
			close_fd(&end->ours);
		if (error < 0) {
			forget_streams(stdio);
			return error;
		}
	}
	return 0;
}

static int settled(struct timer *timer)
{
	struct stdio *stdio = container_of(timer, struct stdio, settle);
	struct stdio_end *end = &stdio->end[STDIO_OUT];
	const struct outlet *outlet = &end->outlet;
	if (!end->open)
		return 0;
	/* What can be seen waiting is not all that there is, so it has to be read first. */
	if (outlet_offset(outlet) > outlet->sent || outlet->sent > stdio->settle_sent) {
		bool flows = outlet->sent > stdio->settle_sent;
		stdio->settle_delay = flows ? SETTLE : 2 * stdio->settle_delay;
		if (stdio->settle_delay > SETTLE_MAX)
			stdio->settle_delay = SETTLE_MAX;
		stdio->settle_sent = outlet->sent;
		timer_set(timer, stdio->settle_delay);
		return 0;
	}
	struct notification notification = {
		.base.container_id = process_container_id(stdio->process),
		.type = "StreamOffset",
		.operation = "None",
		.process_id = (uint32_t)stdio->process->child.pid,
		.stream = end->stream,
		.offset = outlet->sent,
	};
	bridge_notify(stdio_bridge(stdio), &notification);
	return 0;
}

static void output_offset(const struct stdio_end *end, struct opt_u64 *ret)
{
	if (end->stream) {
		ret->set = true;
		ret->value = end->open ? outlet_offset(&end->outlet) : end->ended_at;
	}
}

void stdio_exited(struct stdio *stdio, struct stream_offsets *ret)
{
	*ret = (struct stream_offsets){ 0 };
	struct stdio_end *in = &stdio->end[STDIO_IN];
	if (in->open) {
		inlet_stop(&stdio->in);
		input_closed(&stdio->in);
	}
	if (in->relay.active)
		relay_deinit(&in->relay);
	if (!stdio->terminal) {
		output_offset(&stdio->end[STDIO_OUT], &ret->out);
		output_offset(&stdio->end[STDIO_ERR], &ret->err);
	} else if (stdio->end[STDIO_OUT].open) {
		stdio->settle_sent = stdio->end[STDIO_OUT].outlet.sent;
		stdio->settle_delay = SETTLE;
		if (timer_init(&stdio->settle, stdio_loop(stdio), settled) >= 0)
			timer_set(&stdio->settle, SETTLE);
	}
}

bool stdio_relayed(const struct stdio *stdio)
{
	for (int i = 0; i < STDIO_COUNT; i++) {
		if (stdio->end[i].relay.active)
			return false;
	}
	return true;
}

bool stdio_idle(const struct stdio *stdio)
{
	for (int i = STDIO_OUT; i < STDIO_COUNT; i++) {
		if (stdio->end[i].open || stdio->end[i].drain.fd >= 0)
			return false;
	}
	return stdio_relayed(stdio);
}

int stdio_resize(struct stdio *stdio, uint16_t height, uint16_t width)
{
	struct winsize size = { .ws_row = height, .ws_col = width };
	int fd = stdio->end[STDIO_OUT].ours;
	if (fd < 0 && stdio->end[STDIO_OUT].relay.active)
		fd = stdio->end[STDIO_OUT].relay.pipe_fd;
	if (fd < 0)
		fd = stdio->end[STDIO_IN].ours;
	if (!stdio->terminal)
		return -ENOTTY;
	/* After the terminal was closed: success, without effect. */
	return fd >= 0 && ioctl(fd, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}
