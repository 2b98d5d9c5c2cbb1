/* SPDX-License-Identifier: Apache-2.0 */

/* hvrun: the program. */

#include "shim/cli.h"

int main(int argc, char **argv)
{
	return cli_main(argc, argv);
}
