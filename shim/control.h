/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The control socket of a sandbox process: what the command line (and later the containerd shim)
 * asks of it. The same frames and JSON as the bridge; fds travel as SCM_RIGHTS with the request
 * that names them. A failed request's reply has Result and ErrorMessage like one of the bridge.
 *
 * Every request gets exactly one reply with its ID. Wait and Attach are answered when the process
 * has exited and all its output is delivered. Events are notifications (ID of the Events
 * request).
 */

#include "oci/json.h"
#include "oci/message.h"

#define CONTROL_SOCKET "control.sock"
#define CONTROL_FRAME_MAX (6u << 20)    /* a spec inside a JSON string grows */

enum control_type {
	CONTROL_CREATE = 0x1F200101,    /* → ControlReply; fds: those of stdio that are true */
	CONTROL_START = 0x1F200201,
	CONTROL_EXEC = 0x1F200301,      /* fds likewise; → Pid: its number in later requests */
	CONTROL_WAIT = 0x1F200401,
	CONTROL_ATTACH = 0x1F200501,    /* a proxy: as Wait, but its loss kills the process */
	CONTROL_SIGNAL = 0x1F200601,
	CONTROL_RESIZE = 0x1F200701,
	CONTROL_STATE = 0x1F200801,     /* Id "" = all containers of the partition */
	CONTROL_DELETE = 0x1F200901,
	CONTROL_PAUSE = 0x1F200A01,
	CONTROL_RESUME = 0x1F200B01,
	CONTROL_UPDATE = 0x1F200C01,
	CONTROL_PROCESSES = 0x1F200D01,
	CONTROL_STATISTICS = 0x1F200E01,
	CONTROL_EVENTS = 0x1F200F01,
	CONTROL_DUMP = 0x1F201001,      /* a state dump of sandbox and agent, for people */
	CONTROL_SHUTDOWN = 0x1F201101,  /* ends a partition without containers, or with Force */
	CONTROL_CONTINUE = 0x1F201201,  /* for one created with Hold, after the host's hooks */
	CONTROL_SHARE = 0x1F201301,     /* of the container that this client creates next; an fd */
	CONTROL_IMAGE = 0x1F201401,     /* its root as a file: an fd, or two with its scratch */
	CONTROL_EVENT = 0x3F200F01,
};

/* What a request may say; each uses the members that concern it. */
struct control_request {
	const char *id;                 /* container */
	bool vm;                        /* about the VM itself and its processes; no Id then */
	uint32_t pid;                   /* process; 0 = the container's init */

	/* Create, Exec */
	const char *bundle;             /* absolute */
	const char *config;             /* Create: config.json as text, checked, paths absolute */
	const char *process;            /* Exec: an OCI process as text, checked; with Vm, the
	                                 * bridge's ProcessParameters */
	bool std_in, std_out, std_err;  /* an fd comes for it, in this order; terminal: in, out */
	bool hold;                      /* Create: stop before the createContainer hooks */
	bool terminal;
	uint16_t height, width;         /* Resize, and initial size with a terminal */
	const char *log_path;           /* Create: stdout and stderr go there in CRI format */
	uint64_t log_size;              /* bytes per file */
	uint32_t log_files;

	uint32_t proxy;                 /* Attach: its pid on the host; becomes the state's */
	int32_t signal;
	int scope;                      /* enum signal_scope */
	bool force;                     /* Delete: kill first; Shutdown */
	const char *share, *entry;      /* Share, Image (no entry): see shim/share.h */
	bool tree, file;                /* Share, Image: an fd comes, of a mount; of one file */
	bool scratch;                   /* Image: and another, of the disk for what is written */
	uint64_t memory;                /* Update of the VM: bytes that it is to have */
	struct oci_resources *resources;/* Update */
};

/* What State says of a container. */
struct control_container {
	const char *id, *bundle, *status; /* creating, created, running, paused, stopped */
	uint32_t pid;                   /* of the proxy, else as init_pid; 0 when stopped */
	uint32_t init_pid;              /* as the host sees it; 0 where it cannot */
	uint32_t exit_code;             /* when stopped */
	const char *created, *exited_at;/* RFC 3339 */
	const char *log_path;
	uint32_t log_files;
};
struct control_process {
	uint32_t pid;                   /* in the partition's pid namespace */
	uint32_t host_pid;              /* as the host sees it, 0 if it cannot */
	const char *exec;               /* "init", "exec" or "" for others */
};
struct control_figures {                /* of the sandbox process and its bridge */
	uint64_t rss, fds, frames_in, frames_out, bytes_in, bytes_out;
};
struct control_reply {
	struct reply_base base;
	uint32_t pid;                   /* Create, Exec: the process */
	uint32_t host_pid;              /* Create, Exec: as the host sees it, 0 if it cannot */
	uint32_t exit_code;             /* Wait, Attach */
	const char *exited_at;
	const char *reason;             /* Wait, Attach: what ended it along with its partition */
	LIST(struct control_container) containers;      /* State */
	LIST(struct control_process) processes;         /* Processes */
	struct statistics_v2 *statistics;
	struct control_figures sandbox; /* Statistics */
	const char *dump;
};
/* One event: {"Type":"start","Id":…}. */
struct control_event {
	const char *type;               /* create, start, exec, exit, oom, pause, resume, delete */
	const char *id;
	uint32_t pid, exit_code;
	uint64_t count;                 /* oom kills so far */
	const char *time;
};

extern const struct json_type control_request_type, control_reply_type, control_event_type;
