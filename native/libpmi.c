/* libpmi.so: the PMI-1 API (RFC 13) for programs that load a library of that name. */
#include "pmi-wire.h"

#include <string.h>

#define EXPORT __attribute__ ((visibility ("default")))

enum {
    PMI_SUCCESS = 0,
    PMI_FAIL = -1,
    PMI_ERR_INIT = 1,
    PMI_ERR_INVALID_ARG = 3,
    PMI_ERR_INVALID_KEY = 4,
    PMI_ERR_INVALID_VAL = 6,
    PMI_ERR_INVALID_LENGTH = 8,
};

typedef struct {
    const char *key;
    char *val;
} PMI_keyval_t;

static int result (int rc)
{
    return rc < 0 ? PMI_FAIL : PMI_SUCCESS;
}

/* For functions that tell a number. */
static int tell (int *where, int number)
{
    if (!pmi_wire.initialized)
        return PMI_ERR_INIT;
    if (!where)
        return PMI_ERR_INVALID_ARG;
    *where = number;
    return PMI_SUCCESS;
}

EXPORT int PMI_Init (int *spawned)
{
    if (!spawned)
        return PMI_ERR_INVALID_ARG;
    if (pmi_wire_init () < 0)
        return PMI_FAIL;
    *spawned = pmi_wire.spawned;
    return PMI_SUCCESS;
}

EXPORT int PMI_Initialized (int *initialized)
{
    if (!initialized)
        return PMI_ERR_INVALID_ARG;
    *initialized = pmi_wire.initialized;
    return PMI_SUCCESS;
}

EXPORT int PMI_Finalize (void)
{
    return pmi_wire.initialized ? result (pmi_wire_finalize ()) : PMI_ERR_INIT;
}

EXPORT int PMI_Abort (int exit_code, const char error_msg[])
{
    pmi_wire_abort (exit_code, error_msg);
    return PMI_FAIL;
}

EXPORT int PMI_Get_size (int *size)
{
    return tell (size, pmi_wire.size);
}

EXPORT int PMI_Get_rank (int *rank)
{
    return tell (rank, pmi_wire.rank);
}

static int ask_number (const char *cmd, const char *member, int *number)
{
    if (!pmi_wire.initialized)
        return PMI_ERR_INIT;
    return number ? result (pmi_wire_number (cmd, member, number)) : PMI_ERR_INVALID_ARG;
}

EXPORT int PMI_Get_universe_size (int *size)
{
    return ask_number ("universe_size", "size", size);
}

EXPORT int PMI_Get_appnum (int *appnum)
{
    return ask_number ("appnum", "appnum", appnum);
}

EXPORT int PMI_KVS_Get_name_length_max (int *length)
{
    return tell (length, pmi_wire.kvsname_max);
}

EXPORT int PMI_KVS_Get_key_length_max (int *length)
{
    return tell (length, pmi_wire.keylen_max);
}

EXPORT int PMI_KVS_Get_value_length_max (int *length)
{
    return tell (length, pmi_wire.vallen_max);
}

EXPORT int PMI_KVS_Get_my_name (char kvsname[], int length)
{
    if (!pmi_wire.initialized)
        return PMI_ERR_INIT;
    if (!kvsname)
        return PMI_ERR_INVALID_ARG;
    if (length <= (int)strlen (pmi_wire.kvsname))
        return PMI_ERR_INVALID_LENGTH;
    strcpy (kvsname, pmi_wire.kvsname);
    return PMI_SUCCESS;
}

static int is_ours (const char *kvsname)
{
    return kvsname && strcmp (kvsname, pmi_wire.kvsname) == 0;
}

EXPORT int PMI_KVS_Put (const char kvsname[], const char key[], const char value[])
{
    if (!pmi_wire.initialized)
        return PMI_ERR_INIT;
    if (!is_ours (kvsname))
        return PMI_ERR_INVALID_ARG;
    if (!key || !*key || strpbrk (key, " \n=") || (int)strlen (key) >= pmi_wire.keylen_max)
        return PMI_ERR_INVALID_KEY;
    if (!value || strchr (value, '\n') || (int)strlen (value) >= pmi_wire.vallen_max)
        return PMI_ERR_INVALID_VAL;
    return result (pmi_wire_put (key, value));
}

EXPORT int PMI_KVS_Commit (const char kvsname[])
{
    if (!pmi_wire.initialized)
        return PMI_ERR_INIT;
    return is_ours (kvsname) ? PMI_SUCCESS : PMI_ERR_INVALID_ARG;
}

EXPORT int PMI_KVS_Get (const char kvsname[], const char key[], char value[], int length)
{
    int n;

    if (!pmi_wire.initialized)
        return PMI_ERR_INIT;
    if (!is_ours (kvsname) || !value)
        return PMI_ERR_INVALID_ARG;
    if (!key || !*key || strpbrk (key, " \n="))
        return PMI_ERR_INVALID_KEY;
    if ((n = pmi_wire_get (key, value, length)) < 0)
        return PMI_FAIL;
    return n < length ? PMI_SUCCESS : PMI_ERR_INVALID_LENGTH;
}

EXPORT int PMI_Barrier (void)
{
    return pmi_wire.initialized ? result (pmi_wire_barrier ()) : PMI_ERR_INIT;
}

EXPORT int PMI_Get_clique_size (int *size)
{
    int n;

    if (!pmi_wire.initialized)
        return PMI_ERR_INIT;
    if (!size)
        return PMI_ERR_INVALID_ARG;
    if ((n = pmi_wire_clique (NULL, 0)) < 0)
        return PMI_FAIL;
    *size = n;
    return PMI_SUCCESS;
}

EXPORT int PMI_Get_clique_ranks (int ranks[], int length)
{
    int n;

    if (!pmi_wire.initialized)
        return PMI_ERR_INIT;
    if (!ranks)
        return PMI_ERR_INVALID_ARG;
    if ((n = pmi_wire_clique (ranks, length)) < 0)
        return PMI_FAIL;
    return n <= length ? PMI_SUCCESS : PMI_ERR_INVALID_LENGTH;
}

/* ---- old names */

EXPORT int PMI_Get_id_length_max (int *length)
{
    return PMI_KVS_Get_name_length_max (length);
}

EXPORT int PMI_Get_id (char kvsname[], int length)
{
    return PMI_KVS_Get_my_name (kvsname, length);
}

EXPORT int PMI_Get_kvs_domain_id (char kvsname[], int length)
{
    return PMI_KVS_Get_my_name (kvsname, length);
}

/* ---- optional functions: there for programs that link to them */

#define REFUSED(name, ...) \
    EXPORT int name (__VA_ARGS__); \
    EXPORT int name (__VA_ARGS__)
#define UNUSED __attribute__ ((unused))

REFUSED (PMI_Publish_name, const char service_name[] UNUSED, const char port[] UNUSED) { return PMI_FAIL; }
REFUSED (PMI_Unpublish_name, const char service_name[] UNUSED) { return PMI_FAIL; }
REFUSED (PMI_Lookup_name, const char service_name[] UNUSED, char port[] UNUSED) { return PMI_FAIL; }
REFUSED (PMI_Spawn_multiple,
         int count UNUSED,
         const char *cmds[] UNUSED,
         const char **argvs[] UNUSED,
         const int maxprocs[] UNUSED,
         const int info_keyval_sizesp[] UNUSED,
         const PMI_keyval_t *info_keyval_vectors[] UNUSED,
         int preput_keyval_size UNUSED,
         const PMI_keyval_t preput_keyval_vector[] UNUSED,
         int errors[] UNUSED) { return PMI_FAIL; }
REFUSED (PMI_KVS_Create, char kvsname[] UNUSED, int length UNUSED) { return PMI_FAIL; }
REFUSED (PMI_KVS_Destroy, const char kvsname[] UNUSED) { return PMI_FAIL; }
REFUSED (PMI_KVS_Iter_first, const char kvsname[] UNUSED, char key[] UNUSED, int key_len UNUSED, char val[] UNUSED, int val_len UNUSED) { return PMI_FAIL; }
REFUSED (PMI_KVS_Iter_next, const char kvsname[] UNUSED, char key[] UNUSED, int key_len UNUSED, char val[] UNUSED, int val_len UNUSED) { return PMI_FAIL; }
REFUSED (PMI_Parse_option, int num_args UNUSED, char *args[] UNUSED, int *num_parsed UNUSED, PMI_keyval_t **keyvalp UNUSED, int *size UNUSED) { return PMI_FAIL; }
REFUSED (PMI_Args_to_keyval, int *argcp UNUSED, char *((*argvp)[]) UNUSED, PMI_keyval_t **keyvalp UNUSED, int *size UNUSED) { return PMI_FAIL; }
REFUSED (PMI_Free_keyvals, PMI_keyval_t keyvalp[] UNUSED, int size UNUSED) { return PMI_FAIL; }
REFUSED (PMI_Get_options, char *str UNUSED, int *length UNUSED) { return PMI_FAIL; }

/* By this name programs tell Flux's library from another launcher's. */
EXPORT int flux_pmi_library = 1;
