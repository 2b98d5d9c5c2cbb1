/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The sandbox process of the command line: `hvrun create` has started it and waits to hear that the
 * partition is ready, and it lives as long as there are containers.
 */

#include "shim/sandbox.h"

#include "oci/log.h"
#include "shim/sandbox_private.h"

#define IDLE_LIMIT 10000        /* milliseconds without ever a container */

struct standalone {
	struct sandbox sandbox;
	struct starter starter;
	int status;
};

static struct standalone *of(struct sandbox *sandbox)
{
	return container_of(sandbox, struct standalone, sandbox);
}

/* Nobody else knows yet that there is a partition. */
static void on_starter_gone(struct starter *starter)
{
	log_info("nobody waits for the partition any more");
	sandbox_end(&container_of(starter, struct standalone, starter)->sandbox);
}

static void on_ready(struct sandbox *sandbox)
{
	if (!starter_tell_ready(&of(sandbox)->starter))
		on_starter_gone(&of(sandbox)->starter);
}

static void on_failed(struct sandbox *sandbox, const char *text)
{
	starter_tell_failed(&of(sandbox)->starter, text, sandbox->partition.said);
	of(sandbox)->status = EXIT_FAILURE;
}

static void on_ended(struct sandbox *sandbox)
{
	loop_stop(&sandbox->loop);
}

static void on_idle(struct sandbox *sandbox)
{
	log_info("nobody wants a container here");
	sandbox_end(sandbox);
}

static void on_died(struct sandbox *sandbox)
{
	if (!sandbox->task.containers)
		sandbox_end(sandbox);
}

static const struct sandbox_ops ops = {
	.ready = on_ready,
	.failed = on_failed,
	.ended = on_ended,
	.idle = on_idle,
	.emptied = sandbox_end,
	.died = on_died,
};

static int run(struct standalone *standalone, struct fault *fault)
{
	struct sandbox *sandbox = &standalone->sandbox;
	int r = sandbox_start(sandbox, fault);

	if (r >= 0)
		r = starter_watch(&standalone->starter, &sandbox->loop, on_starter_gone);
	if (r < 0) {
		starter_tell_failed(&standalone->starter,
		                    fault->text[0] ? fault->text : errno_text(r),
		                    sandbox->partition.said);
		return r;
	}
	return loop_run(&sandbox->loop);
}

int sandbox_main(int argc, char **argv)
{
	struct sandbox_options options;
	struct standalone standalone;
	struct fault fault = FAULT_NULL;

	if (starter_options(argc, argv, &options) < 0 || starter_leave(&options) < 0)
		return EXIT_FAILURE;
	standalone.status = EXIT_SUCCESS;
	standalone.starter = (struct starter)STARTER(options.ready_fd);
	sandbox_init(&standalone.sandbox, &options, &ops);
	standalone.sandbox.idle_limit = IDLE_LIMIT;
	int r = run(&standalone, &fault);
	if (r < 0) {
		log_error("%s", fault.text[0] ? fault.text : errno_text(r));
		standalone.status = EXIT_FAILURE;
	}
	starter_deinit(&standalone.starter);
	sandbox_deinit(&standalone.sandbox);
	return standalone.status;
}
