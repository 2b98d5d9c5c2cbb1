/* SPDX-License-Identifier: Apache-2.0 */

/*
 * delete. Callers clean up with it after whatever has happened, so it goes on from wherever it
 * finds the container: not made yet, half made by a command that was killed, without its partition,
 * or under deletion by somebody else. What several do at once is done once, and each is told that
 * it is done.
 */

#include "shim/delete.h"

#include "shim/cli.h"
#include "shim/hooks.h"
#include "shim/remains.h"

#include <string.h>
#include <time.h>

#define CREATION_LIMIT 10000    /* milliseconds that a forced deletion waits for a creation */
#define FORCE_LIMIT 15000       /* and for its end, promised in ten seconds */

/* The partition does not know the container: its create was killed, or somebody was faster. */
static void end_empty_partition(struct client *client, const struct container_record *record)
{
	const struct control_request request = { .id = "" };
	struct fault ignored;

	if (!strcmp(record->partition, record->id))
		(void)client_call(client, CONTROL_SHUTDOWN, &request, NULL, 0, NULL, &ignored);
	(void)remains_remove_cgroups(record);
}

static int delete_in_partition(struct state *state, struct client *client,
                               const struct container_record *record, int directory, bool force,
                               struct fault *fault)
{
	const struct control_request request = { .id = record->id, .force = force };
	int error = client->fd < 0 ? -ECONNREFUSED : client_call(client, CONTROL_DELETE, &request,
	                                                         NULL, 0, NULL, fault);
	if (!error || !state_container_is(state, record->id, directory))
		return 0;
	if (error == -ENOENT) {
		end_empty_partition(client, record);
		return 0;
	}
	if (!client_lost(error))
		return error;
	error = remains_remove(state, record);
	return error < 0 ? fault_errno(fault, error, "removing what is left of container \"%s\"",
	                               record->id) : 0;
}

int delete_container(struct state *state, struct client *client,
                     const struct container_record *record, int directory,
                     const struct bundle *bundle, bool force, struct fault *fault)
{
	struct fault hook;
	int error = delete_in_partition(state, client, record, directory, force, fault);

	if (error < 0 || !state_container_is(state, record->id, directory))
		return error;
	error = state_container_remove(state, record->id);
	if (error < 0)
		return error == -ENOENT ? 0 : fault_errno(fault, error, "removing the state of "
		                                          "container \"%s\"", record->id);
	/* The specification: what fails after the end is only logged. */
	if (host_hooks_run(HOOK_POSTSTOP, bundle, record->id, 0, &hook) < 0)
		log_warning("%s", hook.text);
	return 0;
}

/* Without a record its create was killed before there was anything else. */
static int delete_unrecorded(struct state *state, const char *id)
{
	int error = state_container_remove(state, id);
	return error == -ENOENT ? 0 : error;
}

/*
 * What is being created is there in a moment, or its creation was killed and the kernel is still at
 * it. A lock cannot be polled for.
 */
static int hold(struct state *state, const char *id, unsigned limit, int *ret_fd,
                struct fault *fault)
{
	static const struct timespec step = { .tv_nsec = 5000000 };
	int error = state_container_hold(state, id, ret_fd, fault);

	for (unsigned tries = limit / 5; error == -EBUSY && tries; tries--) {
		nanosleep(&step, NULL);
		error = state_container_hold(state, id, ret_fd, fault);
	}
	return error;
}

struct wish {
	bool force;
	unsigned creation_limit, limit; /* milliseconds; 0: a creation is not waited for; none */
};

static int delete_as_wished(struct state *state, const char *id, const struct wish *wish,
                            struct fault *fault)
{
	struct container_record record = { 0 };
	struct client client = CLIENT_NULL;
	struct bundle bundle = BUNDLE_NULL;
	struct fault ignored;
	cleanup_close int directory = -1;
	int error = hold(state, id, wish->creation_limit, &directory, fault);

	if (error < 0)
		return error == -ENOENT && wish->force ? 0 : error;
	error = client_connect_container(&client, state, id, &record, fault);
	if (error == -ENOENT && !record.partition && wish->force) {
		error = delete_unrecorded(state, id);
	} else if (!error || (record.partition && (error == -ENOENT || client_lost(error)))) {
		/*
		 * The hooks are in the state directory, which goes. A spec that cannot be read
		 * any more must not keep the container alive.
		 */
		bundle_load_saved(&bundle, state, id, record.bundle, &ignored);
		if (wish->limit)
			client_limit(&client, wish->limit);
		error = delete_container(state, &client, &record, directory, &bundle, wish->force,
		                         fault);
	}
	bundle_deinit(&bundle);
	client_close(&client);
	return error;
}

int delete_by_id(struct state *state, const char *id, bool force, struct fault *fault)
{
	const struct wish gentle = { 0 }, forced = {
		.force = true,
		.creation_limit = CREATION_LIMIT,
		.limit = FORCE_LIMIT,
	};

	return delete_as_wished(state, id, force ? &forced : &gentle, fault);
}

int delete_soon(struct state *state, const char *id, unsigned limit, struct fault *fault)
{
	const struct wish wish = { .force = true, .creation_limit = limit, .limit = limit };

	return delete_as_wished(state, id, &wish, fault);
}

struct delete_options {
	bool force;
};
static const struct option_row delete_rows[] = {
	{ "force", 'f', OPTION_FLAG, offsetof(struct delete_options, force), NULL,
	  "kill it first; one that does not exist is deleted already" },
	{ NULL },
};

static int verb_delete(struct cli *cli, void *options, int argc, char **argv, struct fault *fault)
{
	(void)argc;
	const struct delete_options *given = options;

	return delete_by_id(&cli->state, argv[0], given->force, fault);
}

const struct verb verbs_delete[] = {
	{
		.name = "delete",
		.operands = "ID",
		.summary = "delete a stopped container",
		.options = delete_rows,
		.options_size = sizeof(struct delete_options),
		.least = 1, .most = 1,
		.run = verb_delete,
	},
	{ NULL },
};
