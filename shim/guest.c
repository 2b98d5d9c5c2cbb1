/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A guest's clock starts with what the negotiation says, and runs by itself; it is wrong after the
 * VM was paused, and after the host slept or had its clock set. The kernel tells of the latter
 * through a timer that is cancelled by it, so nobody has to look at clocks at intervals.
 *
 * The log is asked for on each connection and then comes from its beginning; the time in front of
 * each line tells what was seen already.
 */

#include "shim/guest.h"

#include "oci/log.h"
#include "oci/settings.h"
#include "shim/forms.h"

#include <stdio.h>
#include <sys/timerfd.h>
#include <time.h>

/* The clock */

static void on_clock_answer(struct bridge_call *call, const void *reply, const struct fault *fault)
{
	struct guest *guest = container_of(call, struct guest, setting);

	if (!reply)
		log_warning("the clock of the guest: %s", fault->text);
	if (guest->again)
		guest_set_clock(guest);
}

void guest_set_clock(struct guest *guest)
{
	struct timespec now;
	struct fault fault = FAULT_NULL;

	if (!guest->bridge->ready || !(guest->bridge->features & FEATURE_CLOCK))
		return;
	guest->again = guest->setting.answer != NULL;
	if (guest->again)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	const struct clock_request request = {
		.base.container_id = NULL_CID,
		.time = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec,
	};
	if (bridge_send(guest->bridge, &guest->setting, MESSAGE_CLOCK,
	                message_find(MESSAGE_CLOCK)->request, &request, on_clock_answer,
	                &fault) < 0)
		log_warning("the clock of the guest: %s", fault.text);
}

/* It never expires; it is cancelled when the clock is set, or has slept. */
static int arm(int fd)
{
	const struct itimerspec never = { .it_value.tv_sec = INT32_MAX };

	return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0 ?
		-errno : 0;
}

static int on_clock_set(struct source *source, uint32_t got)
{
	(void)got;
	struct guest *guest = container_of(source, struct guest, clock);
	uint64_t expirations;

	if (read(source->fd, &expirations, sizeof(expirations)) >= 0 || errno != ECANCELED)
		return 0;
	log_info("the clock was set");
	if (arm(source->fd) < 0)
		source_close(source);
	guest_set_clock(guest);
	return 0;
}

static int watch_clock(struct guest *guest, struct loop *loop)
{
	cleanup_close int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	int r = fd < 0 ? -errno : arm(fd);

	if (r >= 0)
		r = source_init(&guest->clock, loop, fd, EPOLLIN, on_clock_set);
	if (r >= 0)
		take_fd(&fd);
	return r;
}

/* The log */

/* "[   12.345678] text" → 12345678; 0 where there is no time. */
static uint64_t line_time(const char *line)
{
	unsigned long long seconds;
	unsigned micros;

	return sscanf(line, "[%llu.%6u]", &seconds, &micros) == 2 ? seconds * 1000000 + micros : 0;
}

static void take_line(struct guest *guest)
{
	guest->line[guest->length] = '\0';
	uint64_t time = line_time(guest->line);
	if (time && time <= guest->logged && guest->seen) {
		guest->length = 0;
		return;
	}
	guest->seen = false;
	if (time > guest->logged)
		guest->logged = time;
	guest->line[guest->length++] = '\n';
	guest->ops->said(guest, guest->line, guest->length);
	guest->length = 0;
}

static ssize_t on_log(struct inlet *inlet, const char *bytes, size_t size)
{
	struct guest *guest = container_of(inlet, struct guest, log);

	for (size_t i = 0; i < size; i++) {
		if (bytes[i] == '\n' || guest->length == GUEST_LINE_MAX - 2)
			take_line(guest);
		if (bytes[i] != '\n')
			guest->line[guest->length++] = bytes[i];
	}
	return (ssize_t)size;
}

static void on_log_lost(struct inlet *inlet)
{
	inlet_deinit(inlet);
}

static void on_log_ended(struct inlet *inlet, uint32_t reason)
{
	(void)reason;
	on_log_lost(inlet);
}

static const struct inlet_ops log_ops = {
	.write = on_log,
	.ended = on_log_ended,
	.lost = on_log_lost,
};

static void on_log_answer(struct bridge_call *call, const void *reply, const struct fault *fault)
{
	struct guest *guest = container_of(call, struct guest, logging);

	if (reply) {
		inlet_started(&guest->log);
	} else {
		log_warning("the log of the guest: %s", fault->text);
		inlet_forget(&guest->log);
	}
}

static void ask_for_log(struct guest *guest)
{
	struct stdio_streams streams = {
		.out = bridge_stream_ids(guest->bridge, 1),
		.window = STREAM_WINDOW,
	};
	const struct kernel_log_request request = {
		.base.container_id = NULL_CID,
		.streams = &streams,
	};
	struct fault fault = FAULT_NULL;

	guest->length = 0;
	guest->seen = guest->logged != 0;
	int r = inlet_init(&guest->log, &guest->bridge->channel, streams.out, -1, STREAM_WINDOW,
	                   false, &log_ops);
	if (r >= 0)
		r = bridge_send(guest->bridge, &guest->logging, MESSAGE_KERNEL_LOG,
		                message_find(MESSAGE_KERNEL_LOG)->request, &request, on_log_answer,
		                &fault);
	if (r < 0)
		log_warning("the log of the guest: %s", fault.text[0] ? fault.text : errno_text(r));
	if (r < 0 && guest->log.channel)
		inlet_forget(&guest->log);
}

/* The share */

static void on_shared(struct bridge_call *call, const void *reply, const struct fault *fault)
{
	struct guest *guest = container_of(call, struct guest, sharing);
	struct fault failure = FAULT_NULL;

	guest->shared = reply != NULL;
	if (!reply)
		fault_set(&failure, -EIO, fault->hresult, "mount the share in the guest: %s",
		          fault->text);
	guest->ops->ready(guest, reply ? NULL : &failure);
}

static int ask_to_share(struct guest *guest, struct fault *fault)
{
	const struct mapped_directory directory = {
		.mount_path = SHARE_GUEST,
		.share_name = SHARE_TAG,
		.transport = "virtiofs",
	};

	return form_modify(guest->bridge, &guest->sharing, "Add", "MappedDirectory",
	                   &mapped_directory_type, &directory, on_shared, fault);
}

void guest_connected(struct guest *guest)
{
	struct fault fault = FAULT_NULL;

	if (guest->bridge->features & FEATURE_KERNEL_LOG)
		ask_for_log(guest);
	if (!guest->partition->driver->shares || guest->shared)
		guest->ops->ready(guest, NULL);
	else if (ask_to_share(guest, &fault) < 0)
		guest->ops->ready(guest, &fault);
}

int guest_init(struct guest *guest, struct bridge *bridge, const struct partition *partition,
               const struct guest_ops *ops, struct fault *fault)
{
	*guest = (struct guest)GUEST_NULL;
	guest->ops = ops;
	guest->bridge = bridge;
	guest->partition = partition;
	int r = watch_clock(guest, bridge->loop);
	return r < 0 ? fault_errno(fault, r, "watch the clock") : 0;
}

void guest_deinit(struct guest *guest)
{
	if (!guest->bridge)
		return;
	bridge_abandon(guest->bridge, &guest->sharing);
	bridge_abandon(guest->bridge, &guest->logging);
	bridge_abandon(guest->bridge, &guest->setting);
	inlet_deinit(&guest->log);
	source_close(&guest->clock);
}
