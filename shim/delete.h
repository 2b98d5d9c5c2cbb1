/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The end of a container, also of one whose partition has ended before. */

#include "shim/bundle.h"
#include "shim/client.h"

/*
 * Deletes a container: in its partition over the connection, or what is left of it when there is
 * none (fd -1) or none any more; then its directory; then the poststop hooks run. directory: of the
 * container that is meant; if its id is somebody else's by now, that one stays, and ours is deleted
 * already.
 */
int delete_container(struct state *state, struct client *client,
                     const struct container_record *record, int directory,
                     const struct bundle *bundle, bool force, struct fault *fault);

/*
 * By its id, as `hvrun delete`: however far its creation and its deletion by others have come. With
 * force also when it runs, and one that does not exist is deleted already.
 */
int delete_by_id(struct state *state, const char *id, bool force, struct fault *fault);
/* The same by force, for who has no time: creator and partition get so many milliseconds each.
 * -EBUSY, -ETIMEDOUT. */
int delete_soon(struct state *state, const char *id, unsigned limit, struct fault *fault);
