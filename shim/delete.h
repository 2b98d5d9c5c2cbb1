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
