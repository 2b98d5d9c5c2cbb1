/* SPDX-License-Identifier: Apache-2.0 */

/* A root that is an image: its steps up and down, with the agent and the driver played by hand. */

#include "oci/log.h"
#include "shim/image.h"
#include "tests/unit/fake-agent.h"

#include <sys/mman.h>
#include <sys/stat.h>

struct fixture {
	struct fake_agent agent;
	struct partition partition;
	struct partition_call *disk;    /* the driver's operation under way */
	unsigned attached, detached, answers, failures, gone;
	int fd, scratch_fd;             /* of the two disks; -1: there is no scratch */
	bool refuses;                   /* the driver, at once */
	struct image *image;
	char text[FAULT_TEXT];
};

static struct fixture *current;

static void on_ready(struct bridge *bridge)
{
	(void)bridge;
}

static void on_lost(struct bridge *bridge, const struct fault *fault)
{
	(void)bridge;
	(void)fault;
}

static void on_notification(struct bridge *bridge, const struct notification *notification)
{
	(void)bridge;
	(void)notification;
}

static const struct bridge_ops bridge_ops = { on_ready, on_lost, on_notification };

static int attach(struct partition *partition, int fd, bool read_only, struct partition_call *call,
                  struct fault *fault)
{
	(void)partition;
	struct stat wanted, given;

	assert_int_equal(fstat(read_only ? current->fd : current->scratch_fd, &wanted), 0);
	assert_int_equal(fstat(fd, &given), 0);
	assert_int_equal(given.st_ino, wanted.st_ino);
	if (current->refuses)
		return fault_set(fault, -ENOSPC, HRESULT_FAIL, "no place");
	current->attached++;
	current->disk = call;
	call->lun = read_only ? 7 : 8;
	return 0;
}

static int detach(struct partition *partition, uint32_t lun, struct partition_call *call,
                  struct fault *fault)
{
	(void)partition;
	assert_true(lun == 7 || (lun == 8 && current->scratch_fd >= 0));
	if (current->refuses)
		return fault_set(fault, -EPIPE, HRESULT_FAIL, "it has ended");
	current->detached++;
	current->disk = call;
	return 0;
}

static const struct partition_driver driver = {
	.name = "fake", .disk_attach = attach, .disk_detach = detach,
};

static void on_image(void *context, const struct fault *fault)
{
	struct fixture *fixture = context;

	fixture->answers++;
	fixture->failures += fault != NULL;
	snprintf(fixture->text, sizeof(fixture->text), "%s", fault ? fault->text : "");
	/* As its owner does. */
	if (fault)
		image_free(take_pointer(fixture->image));
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	current = fixture;
	fake_init(&fixture->agent, &bridge_ops);
	fixture->partition = (struct partition)PARTITION_NULL;
	fixture->partition.driver = &driver;
	fixture->fd = memfd_create("root", MFD_CLOEXEC);
	fixture->scratch_fd = -1;
	assert_true(fixture->fd >= 0);
	fake_negotiate(&fixture->agent);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	fake_deinit(&fixture->agent);
	close_fd(&fixture->fd);
	close_fd(&fixture->scratch_fd);
	free(fixture);
	return 0;
}

static void start(struct fixture *fixture)
{
	struct fault fault = FAULT_NULL;

	assert_int_equal(image_new(&fixture->partition, &fixture->agent.bridge, "i.1", fixture->fd,
	                           fixture->scratch_fd, on_image, fixture, &fixture->image,
	                           &fault), 0);
}

static void disk_done(struct fixture *fixture, const char *error)
{
	struct partition_call *call = take_pointer(fixture->disk);
	struct fault fault = FAULT_NULL;

	assert_non_null(call);
	if (error)
		fault_set(&fault, -EIO, HRESULT_FAIL, "%s", error);
	call->answer(call, error ? &fault : NULL);
}

static void modified(struct fixture *fixture, const char *settings, const char *error)
{
	char answer[200];
	uint64_t id = fake_expect(&fixture->agent, MESSAGE_MODIFY_SETTINGS);

	if (!strstr(fixture->agent.payload, settings))
		print_message("%s\n", fixture->agent.payload);
	assert_non_null(strstr(fixture->agent.payload, settings));
	snprintf(answer, sizeof(answer), "{\"Result\":%d,\"ErrorMessage\":\"%s\"}",
	         error ? HRESULT_FAIL : 0, error ? error : "");
	fake_answer(&fixture->agent, MESSAGE_MODIFY_SETTINGS, id, answer);
}

#define ADD "\"RequestType\":\"Add\",\"ResourceType\":"
#define REMOVE "\"RequestType\":\"Remove\",\"ResourceType\":"
#define DISK "\"MappedVirtualDisk\",\"Settings\":{\"MountPath\":\"/run/hvrun/image/i.1-disk\""
#define SCRATCH "\"MappedVirtualDisk\",\"Settings\":{\"MountPath\":" \
	"\"/run/hvrun/image/i.1-scratch\""
#define LAYERS "\"CombinedLayers\""
#define DEVICE "\"SCSIDevice\""

static void go_down(struct fixture *fixture)
{
	modified(fixture, REMOVE LAYERS, NULL);
	modified(fixture, REMOVE DISK, NULL);
	modified(fixture, REMOVE DEVICE, NULL);
	disk_done(fixture, NULL);
	assert_int_equal(fixture->attached, fixture->detached);
}

static void test_life(void **state)
{
	struct fixture *fixture = *state;

	for (unsigned i = 1; i <= 2; i++) {
		start(fixture);
		disk_done(fixture, NULL);
		modified(fixture, ADD DISK, NULL);
		modified(fixture, ADD LAYERS, NULL);
		assert_non_null(strstr(fixture->agent.payload, "\"tmpfs\""));
		assert_int_equal(fixture->answers, i);
		assert_int_equal(fixture->failures, 0);
		image_free(take_pointer(fixture->image));
		go_down(fixture);
		assert_int_equal(fixture->answers, i);
	}
	fake_quiet(&fixture->agent);
}

static void test_failures(void **state)
{
	struct fixture *fixture = *state;
	struct fault fault = FAULT_NULL;

	fixture->refuses = true;
	assert_int_equal(image_new(&fixture->partition, &fixture->agent.bridge, "i.1", fixture->fd, -1,
	                           on_image, fixture, &fixture->image, &fault), -ENOSPC);
	assert_string_equal(fault.text, "no place");
	fixture->refuses = false;
	start(fixture);
	disk_done(fixture, "no disk");
	assert_string_equal(fixture->text, "no disk");
	start(fixture);
	disk_done(fixture, NULL);
	modified(fixture, ADD DISK, "no file system");
	modified(fixture, REMOVE DEVICE, NULL);
	assert_int_equal(fixture->failures, 1);
	disk_done(fixture, NULL);
	assert_int_equal(fixture->failures, 2);
	assert_string_equal(fixture->text, "no file system");
	start(fixture);
	disk_done(fixture, NULL);
	modified(fixture, ADD DISK, NULL);
	modified(fixture, ADD LAYERS, "no overlay");
	/* What cannot be undone is no reason not to undo the rest. */
	modified(fixture, REMOVE DISK, "busy");
	modified(fixture, REMOVE DEVICE, "busy");
	disk_done(fixture, "busy");
	assert_int_equal(fixture->failures, 3);
	assert_string_equal(fixture->text, "no overlay");
	assert_int_equal(fixture->answers, 3);
	assert_null(fixture->image);
}

static void give_scratch(struct fixture *fixture)
{
	fixture->scratch_fd = memfd_create("scratch", MFD_CLOEXEC);
	assert_true(fixture->scratch_fd >= 0);
}

static void on_gone(void *context)
{
	((struct fixture *)context)->gone++;
}

/* Up to the n-th step, which fails; how many were begun. */
static void climb(struct fixture *fixture, unsigned steps, bool fails)
{
	static const char *const asked[] = { NULL, ADD DISK, NULL, ADD SCRATCH, ADD LAYERS };

	start(fixture);
	for (unsigned i = 0; i < steps; i++) {
		const char *error = fails && i == steps - 1 ? "no" : NULL;
		if (asked[i])
			modified(fixture, asked[i], error);
		else
			disk_done(fixture, error);
	}
}

static void descend(struct fixture *fixture, unsigned steps)
{
	static const char *const asked[] = {
		NULL, REMOVE DEVICE ",\"Settings\":{\"Lun\":7}", REMOVE DISK,
		NULL, REMOVE DEVICE ",\"Settings\":{\"Lun\":8}", REMOVE SCRATCH,
		REMOVE LAYERS,
	};

	while (steps--) {
		if (asked[steps])
			modified(fixture, asked[steps], NULL);
		else
			disk_done(fixture, NULL);
	}
}

static void test_scratch(void **state)
{
	struct fixture *fixture = *state;

	give_scratch(fixture);
	climb(fixture, 5, false);
	assert_null(strstr(fixture->agent.payload, "tmpfs"));
	assert_non_null(strstr(fixture->agent.payload,
	                       "\"ScratchPath\":\"/run/hvrun/image/i.1-scratch\""));
	assert_int_equal(fixture->answers, 1);
	assert_int_equal(fixture->failures, 0);
	image_end(take_pointer(fixture->image), on_gone, fixture);
	assert_int_equal(fixture->gone, 0);
	descend(fixture, 7);
	assert_int_equal(fixture->gone, 1);
	assert_int_equal(fixture->answers, 1);
	/* Whoever has asked that may change his mind. */
	climb(fixture, 5, false);
	image_end(fixture->image, on_gone, fixture);
	image_free(take_pointer(fixture->image));
	descend(fixture, 7);
	assert_int_equal(fixture->gone, 1);
	assert_int_equal(fixture->attached, fixture->detached);
	fake_quiet(&fixture->agent);
}

static void test_scratch_failures(void **state)
{
	static const struct { unsigned up, down; const char *text; } rows[] = {
		{ 1, 0, "no" }, { 2, 2, "no" }, { 3, 3, "scratch: no" }, { 4, 5, "scratch: no" },
		{ 5, 6, "no" },
	};
	struct fixture *fixture = *state;

	give_scratch(fixture);
	for (unsigned i = 0; i < array_size(rows); i++) {
		climb(fixture, rows[i].up, true);
		assert_int_equal(fixture->failures, rows[i].down ? i : i + 1);
		descend(fixture, rows[i].down);
		assert_int_equal(fixture->failures, i + 1);
		assert_string_equal(fixture->text, rows[i].text);
	}
	fake_quiet(&fixture->agent);
}

/* Whoever wanted it has gone, in the middle of a step. */
static void test_unneeded(void **state)
{
	struct fixture *fixture = *state;

	start(fixture);
	image_free(take_pointer(fixture->image));
	disk_done(fixture, NULL);
	disk_done(fixture, NULL);
	assert_int_equal(fixture->detached, 1);
	assert_int_equal(fixture->failures, 1);
	start(fixture);
	disk_done(fixture, NULL);
	modified(fixture, ADD DISK, NULL);
	uint64_t id = fake_expect(&fixture->agent, MESSAGE_MODIFY_SETTINGS);
	image_free(take_pointer(fixture->image));
	fake_answer(&fixture->agent, MESSAGE_MODIFY_SETTINGS, id, "{\"Result\":0}");
	go_down(fixture);
	assert_int_equal(fixture->failures, 2);
	assert_string_equal(fixture->text, "nobody waits any more");
}

/* The VM ends: everything fails, and everything is given back. */
static void test_end(void **state)
{
	struct fixture *fixture = *state;

	start(fixture);
	disk_done(fixture, NULL);
	modified(fixture, ADD DISK, NULL);
	(void)fake_expect(&fixture->agent, MESSAGE_MODIFY_SETTINGS);
	fixture->refuses = true;
	bridge_deinit(&fixture->agent.bridge);
	assert_int_equal(fixture->failures, 1);
	image_free(NULL);
}

static void test_refused(void **state)
{
	struct fixture *fixture = *state;
	static const struct partition_driver none = { .name = "none" };
	static const char *const names[] = { "", ".", "..", ".x", "a/b" };
	struct fault fault = FAULT_NULL;

	for (size_t i = 0; i < array_size(names); i++)
		assert_int_equal(image_new(&fixture->partition, &fixture->agent.bridge, names[i],
		                           fixture->fd, -1, on_image, fixture, &fixture->image,
		                           &fault), -EINVAL);
	fixture->partition.driver = &none;
	assert_int_equal(image_new(&fixture->partition, &fixture->agent.bridge, "i", fixture->fd,
	                           -1, on_image, fixture, &fixture->image, &fault), -ENOTSUP);
	assert_string_equal(fault.text, "a none partition takes no disks");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_life, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
		cmocka_unit_test_setup_teardown(test_scratch, setup, teardown),
		cmocka_unit_test_setup_teardown(test_scratch_failures, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unneeded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
	};
	log_init(-1, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
