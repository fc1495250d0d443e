/* libfluxmpir.so: what a parallel debugger looks for in the process that starts a job: the variables and the function of the MPIR
 * interface. `flux job attach --debug` loads it, fills the table, and calls flux_mpir_spawned().
 */
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__ ((visibility ("default")))

typedef struct {
    char *host_name;
    char *executable_name;
    int pid;
} MPIR_PROCDESC;

#define MPIR_DEBUG_SPAWNED 1

EXPORT volatile int MPIR_debug_state = 0;
EXPORT volatile int MPIR_being_debugged = 0;
EXPORT MPIR_PROCDESC *MPIR_proctable = NULL;
EXPORT int MPIR_proctable_size = 0;
EXPORT char *MPIR_debug_abort_string = NULL;
EXPORT int MPIR_i_am_starter = 1;
EXPORT int MPIR_acquired_pre_main = 1;
EXPORT int MPIR_force_to_main = 1;
EXPORT int MPIR_partial_attach_ok = 1;
/* Set by a tool that wants its program run on every node of the job: its path, and arguments that each end in NUL. */
EXPORT char MPIR_executable_path[256];
EXPORT char MPIR_server_arguments[1024];
EXPORT char *totalview_jobid = NULL;

/* Debuggers stop here. */
EXPORT __attribute__ ((noinline)) void MPIR_Breakpoint (void)
{
    __asm__ volatile ("" ::: "memory");
}

EXPORT int flux_mpir_begin (int size, const char *jobid)
{
    MPIR_PROCDESC *table = calloc (size > 0 ? size : 1, sizeof (*table));
    if (!table)
        return -1;
    MPIR_proctable = table;
    MPIR_proctable_size = size;
    totalview_jobid = strdup (jobid);
    return 0;
}

EXPORT int flux_mpir_set (int taskid, const char *host, const char *executable, int pid)
{
    MPIR_PROCDESC *entry;
    if (taskid < 0 || taskid >= MPIR_proctable_size)
        return -1;
    entry = &MPIR_proctable[taskid];
    entry->host_name = strdup (host);
    entry->executable_name = strdup (executable);
    entry->pid = pid;
    return entry->host_name && entry->executable_name ? 0 : -1;
}

EXPORT int flux_mpir_being_debugged (void)
{
    return MPIR_being_debugged;
}

EXPORT void flux_mpir_debug (void)
{
    MPIR_being_debugged = 1;
}

EXPORT const char *flux_mpir_executable_path (void)
{
    return MPIR_executable_path;
}

/* Argument `index`, or NULL behind the last. */
EXPORT const char *flux_mpir_server_argument (int index)
{
    const char *at = MPIR_server_arguments;
    const char *end = at + sizeof (MPIR_server_arguments);
    while (at < end && *at) {
        if (index-- == 0)
            return at;
        at += strnlen (at, end - at) + 1;
    }
    return NULL;
}

EXPORT void flux_mpir_spawned (void)
{
    MPIR_debug_state = MPIR_DEBUG_SPAWNED;
    MPIR_Breakpoint ();
}
