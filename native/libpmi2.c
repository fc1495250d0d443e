/* libpmi2.so: the PMI-2 API, as far as MPI libraries use it to begin, over the PMI-1 wire (RFC 13). */
#include "pmi-wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__ ((visibility ("default")))
#define UNUSED __attribute__ ((unused))

enum {
    PMI2_SUCCESS = 0,
    PMI2_FAIL = -1,
    PMI2_ERR_INIT = 1,
    PMI2_ERR_NOMEM = 2,
    PMI2_ERR_INVALID_ARG = 3,
    PMI2_ERR_INVALID_KEY = 4,
    PMI2_ERR_INVALID_VAL = 6,
    PMI2_ERR_INVALID_LENGTH = 8,
};

struct MPID_Info;
struct PMI2_Connect_comm;

/* From one look for a node's attribute to the next, while another process of the node has not set it. */
#define WAIT_US 10000

static int result (int rc)
{
    return rc < 0 ? PMI2_FAIL : PMI2_SUCCESS;
}

EXPORT int PMI2_Init (int *spawned, int *size, int *rank, int *appnum)
{
    if (!spawned || !size || !rank || !appnum)
        return PMI2_ERR_INVALID_ARG;
    if (pmi_wire_init () < 0 || pmi_wire_number ("appnum", "appnum", appnum) < 0)
        return PMI2_FAIL;
    *spawned = pmi_wire.spawned;
    *size = pmi_wire.size;
    *rank = pmi_wire.rank;
    return PMI2_SUCCESS;
}

EXPORT int PMI2_Finalize (void)
{
    return pmi_wire.initialized ? result (pmi_wire_finalize ()) : PMI2_ERR_INIT;
}

EXPORT int PMI2_Initialized (void)
{
    return pmi_wire.initialized;
}

EXPORT int PMI2_Abort (int flag UNUSED, const char msg[])
{
    pmi_wire_abort (1, msg);
    return PMI2_FAIL;
}

EXPORT int PMI2_Job_GetId (char jobid[], int jobid_size)
{
    if (!pmi_wire.initialized)
        return PMI2_ERR_INIT;
    if (!jobid)
        return PMI2_ERR_INVALID_ARG;
    if (jobid_size <= (int)strlen (pmi_wire.kvsname))
        return PMI2_ERR_INVALID_LENGTH;
    strcpy (jobid, pmi_wire.kvsname);
    return PMI2_SUCCESS;
}

EXPORT int PMI2_Job_GetRank (int *rank)
{
    if (!pmi_wire.initialized)
        return PMI2_ERR_INIT;
    if (!rank)
        return PMI2_ERR_INVALID_ARG;
    *rank = pmi_wire.rank;
    return PMI2_SUCCESS;
}

static int is_key (const char *key)
{
    return key && *key && !strpbrk (key, " \n=") && (int)strlen (key) < pmi_wire.keylen_max;
}

EXPORT int PMI2_KVS_Put (const char key[], const char value[])
{
    if (!pmi_wire.initialized)
        return PMI2_ERR_INIT;
    if (!is_key (key))
        return PMI2_ERR_INVALID_KEY;
    if (!value || strchr (value, '\n') || (int)strlen (value) >= pmi_wire.vallen_max)
        return PMI2_ERR_INVALID_VAL;
    return result (pmi_wire_put (key, value));
}

EXPORT int PMI2_KVS_Get (const char *jobid, int src_pmi_id UNUSED, const char key[], char value[], int maxvalue, int *vallen)
{
    int n;

    if (!pmi_wire.initialized)
        return PMI2_ERR_INIT;
    if (!value || !vallen || (jobid && strcmp (jobid, pmi_wire.kvsname) != 0))
        return PMI2_ERR_INVALID_ARG;
    if (!is_key (key))
        return PMI2_ERR_INVALID_KEY;
    if ((n = pmi_wire_get (key, value, maxvalue)) < 0)
        return PMI2_FAIL;
    /* A negative length says that it was cut. */
    *vallen = n < maxvalue ? n : -n;
    return PMI2_SUCCESS;
}

EXPORT int PMI2_KVS_Fence (void)
{
    return pmi_wire.initialized ? result (pmi_wire_barrier ()) : PMI2_ERR_INIT;
}

EXPORT int PMI2_Info_GetSize (int *size)
{
    int n;

    if (!pmi_wire.initialized)
        return PMI2_ERR_INIT;
    if (!size)
        return PMI2_ERR_INVALID_ARG;
    if ((n = pmi_wire_clique (NULL, 0)) < 0)
        return PMI2_FAIL;
    *size = n;
    return PMI2_SUCCESS;
}

/* ---- attributes of a node: keys that have the node's first rank in their name */

static int node_key (const char *name, char *key, int size)
{
    int first = 0;
    int n;

    if (pmi_wire_clique (&first, 1) < 0)
        return -1;
    n = snprintf (key, size, "node.%d.%s", first, name);
    return n < 0 || n >= size || !is_key (key) ? -1 : 0;
}

EXPORT int PMI2_Info_PutNodeAttr (const char name[], const char value[])
{
    char key[PMI_WIRE_LINE_MAX];

    if (!pmi_wire.initialized)
        return PMI2_ERR_INIT;
    if (!name || node_key (name, key, sizeof (key)) < 0)
        return PMI2_ERR_INVALID_KEY;
    return PMI2_KVS_Put (key, value);
}

EXPORT int PMI2_Info_GetNodeAttr (const char name[], char value[], int valuelen, int *found, int waitfor)
{
    char key[PMI_WIRE_LINE_MAX];

    if (!pmi_wire.initialized)
        return PMI2_ERR_INIT;
    if (!value || !found)
        return PMI2_ERR_INVALID_ARG;
    if (!name || node_key (name, key, sizeof (key)) < 0)
        return PMI2_ERR_INVALID_KEY;
    while (!(*found = pmi_wire_get (key, value, valuelen) >= 0) && waitfor)
        usleep (WAIT_US);
    return PMI2_SUCCESS;
}

EXPORT int PMI2_Info_GetNodeAttrIntArray (const char name[], int array[], int arraylen, int *outlen, int *found)
{
    int n;

    if (!pmi_wire.initialized)
        return PMI2_ERR_INIT;
    if (!name || !array || !outlen || !found)
        return PMI2_ERR_INVALID_ARG;
    *found = 0;
    *outlen = 0;
    if (strcmp (name, "localRanksCount") != 0 && strcmp (name, "localRanks") != 0)
        return PMI2_SUCCESS;
    if ((n = pmi_wire_clique (array, arraylen)) < 0)
        return PMI2_FAIL;
    *found = 1;
    *outlen = strcmp (name, "localRanks") == 0 ? n : 1;
    if (*outlen == 1 && strcmp (name, "localRanksCount") == 0 && arraylen > 0)
        array[0] = n;
    return PMI2_SUCCESS;
}

EXPORT int PMI2_Info_GetJobAttr (const char name[], char value[], int valuelen, int *found)
{
    int size;

    if (!pmi_wire.initialized)
        return PMI2_ERR_INIT;
    if (!name || !value || !found)
        return PMI2_ERR_INVALID_ARG;
    *found = 0;
    if (strcmp (name, "universeSize") == 0) {
        *found = pmi_wire_number ("universe_size", "size", &size) == 0 && snprintf (value, valuelen, "%d", size) < valuelen;
        return PMI2_SUCCESS;
    }
    if (!is_key (name))
        return PMI2_ERR_INVALID_KEY;
    *found = pmi_wire_get (name, value, valuelen) >= 0;
    return PMI2_SUCCESS;
}

EXPORT int PMI2_Info_GetJobAttrIntArray (const char name[] UNUSED, int array[] UNUSED, int arraylen UNUSED, int *outlen, int *found)
{
    if (outlen)
        *outlen = 0;
    if (found)
        *found = 0;
    return PMI2_SUCCESS;
}

/* ---- what a job of Flux cannot do: it has the processes that it has */

#define REFUSED(name, ...) \
    EXPORT int name (__VA_ARGS__); \
    EXPORT int name (__VA_ARGS__)

REFUSED (PMI2_Job_Spawn,
         int count UNUSED,
         const char *cmds[] UNUSED,
         int argcs[] UNUSED,
         const char **argvs[] UNUSED,
         const int maxprocs[] UNUSED,
         const int info_keyval_sizes[] UNUSED,
         const struct MPID_Info *info_keyval_vectors[] UNUSED,
         int preput_keyval_size UNUSED,
         const struct MPID_Info *preput_keyval_vector[] UNUSED,
         char jobId[] UNUSED,
         int jobIdSize UNUSED,
         int errors[] UNUSED) { return PMI2_FAIL; }
REFUSED (PMI2_Job_Connect, const char jobid[] UNUSED, struct PMI2_Connect_comm *conn UNUSED) { return PMI2_FAIL; }
REFUSED (PMI2_Job_Disconnect, const char jobid[] UNUSED) { return PMI2_FAIL; }
REFUSED (PMI2_Nameserv_publish, const char service_name[] UNUSED, const struct MPID_Info *info_ptr UNUSED, const char port[] UNUSED) { return PMI2_FAIL; }
REFUSED (PMI2_Nameserv_lookup, const char service_name[] UNUSED, const struct MPID_Info *info_ptr UNUSED, char port[] UNUSED, int portLen UNUSED) { return PMI2_FAIL; }
REFUSED (PMI2_Nameserv_unpublish, const char service_name[] UNUSED, const struct MPID_Info *info_ptr UNUSED) { return PMI2_FAIL; }

/* By this name programs tell Flux's library from another launcher's. */
EXPORT int flux_pmi_library = 1;
