#include "pmi-wire.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pmi_wire pmi_wire = { .fd = -1, .size = 1, .kvsname_max = 64, .keylen_max = 64, .vallen_max = 1024 };

/* ---- keys of a process that is alone */

struct pair {
    struct pair *next;
    char *key;
    char *value;
};

static struct pair *own_pairs;

static void forget_own (void)
{
    while (own_pairs) {
        struct pair *pair = own_pairs;
        own_pairs = pair->next;
        free (pair->key);
        free (pair->value);
        free (pair);
    }
}

static int put_own (const char *key, const char *value)
{
    struct pair *pair = calloc (1, sizeof (*pair));
    if (!pair || !(pair->key = strdup (key)) || !(pair->value = strdup (value))) {
        if (pair)
            free (pair->key);
        free (pair);
        return -1;
    }
    pair->next = own_pairs;
    own_pairs = pair;
    return 0;
}

static const char *get_own (const char *key)
{
    for (struct pair *pair = own_pairs; pair; pair = pair->next)
        if (strcmp (pair->key, key) == 0)
            return pair->value;
    return strcmp (key, "PMI_process_mapping") == 0 ? "(vector,(0,1,1))" : NULL;
}

/* ---- lines */

static int write_all (const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write (pmi_wire.fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        data += n;
        size -= n;
    }
    return 0;
}

/* The server never speaks first: nothing of a later line can be behind this one. */
static int read_line (char *line, size_t size)
{
    size_t length = 0;
    while (length < size - 1) {
        ssize_t n = read (pmi_wire.fd, line + length, size - 1 - length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        length += n;
        if (line[length - 1] == '\n') {
            line[length - 1] = '\0';
            return 0;
        }
    }
    return -1;
}

/* The word `name` of an answer; "value" goes on to the end of the line. */
static const char *word (const char *line, const char *name, size_t *length)
{
    size_t n = strlen (name);
    const char *at = line;
    while (*at) {
        while (*at == ' ')
            at++;
        if (strncmp (at, name, n) == 0 && at[n] == '=') {
            const char *value = at + n + 1;
            *length = strcmp (name, "value") == 0 ? strlen (value) : strcspn (value, " ");
            return value;
        }
        if (strncmp (at, "value=", 6) == 0)
            return NULL;
        at += strcspn (at, " ");
    }
    return NULL;
}

static int number_of (const char *line, const char *name, int *number)
{
    size_t length;
    const char *text = word (line, name, &length);
    char *end;
    long value;

    if (!text || length == 0)
        return -1;
    value = strtol (text, &end, 10);
    if (end != text + length)
        return -1;
    *number = (int)value;
    return 0;
}

/* Sends a line and reads its answer, which must be `wanted` and no refusal. */
static int ask (char *line, size_t size, const char *wanted)
{
    size_t length;
    const char *cmd;
    int rc = 0;

    if (write_all (line, strlen (line)) < 0 || read_line (line, size) < 0)
        return -1;
    cmd = word (line, "cmd", &length);
    if (!cmd || strlen (wanted) != length || strncmp (cmd, wanted, length) != 0)
        return -1;
    return number_of (line, "rc", &rc) == 0 && rc != 0 ? -1 : 0;
}

/* ---- requests */

static int environment (const char *name, int *number)
{
    const char *text = getenv (name);
    char *end;
    long value;

    if (!text || !*text)
        return -1;
    value = strtol (text, &end, 10);
    if (*end || value < 0)
        return -1;
    *number = (int)value;
    return 0;
}

static int say_hello (void)
{
    char line[PMI_WIRE_LINE_MAX] = "cmd=init pmi_version=1 pmi_subversion=1\n";
    size_t length;
    const char *name;

    if (ask (line, sizeof (line), "response_to_init") < 0)
        return -1;
    strcpy (line, "cmd=get_maxes\n");
    if (ask (line, sizeof (line), "maxes") < 0)
        return -1;
    (void)number_of (line, "kvsname_max", &pmi_wire.kvsname_max);
    (void)number_of (line, "keylen_max", &pmi_wire.keylen_max);
    (void)number_of (line, "vallen_max", &pmi_wire.vallen_max);
    strcpy (line, "cmd=get_my_kvsname\n");
    if (ask (line, sizeof (line), "my_kvsname") < 0)
        return -1;
    name = word (line, "kvsname", &length);
    if (!name || length >= sizeof (pmi_wire.kvsname))
        return -1;
    memcpy (pmi_wire.kvsname, name, length);
    pmi_wire.kvsname[length] = '\0';
    return 0;
}

int pmi_wire_init (void)
{
    int spawned = 0;

    if (pmi_wire.initialized)
        return 0;
    if (environment ("PMI_FD", &pmi_wire.fd) < 0) {
        pmi_wire.fd = -1;
        pmi_wire.rank = 0;
        pmi_wire.size = 1;
        snprintf (pmi_wire.kvsname, sizeof (pmi_wire.kvsname), "singleton-%d", (int)getpid ());
    } else if (environment ("PMI_RANK", &pmi_wire.rank) < 0 || environment ("PMI_SIZE", &pmi_wire.size) < 0 || say_hello () < 0)
        return -1;
    (void)environment ("PMI_SPAWNED", &spawned);
    pmi_wire.spawned = spawned;
    pmi_wire.initialized = 1;
    return 0;
}

int pmi_wire_finalize (void)
{
    char line[PMI_WIRE_LINE_MAX] = "cmd=finalize\n";
    int rc = 0;

    if (!pmi_wire.initialized)
        return -1;
    if (pmi_wire.fd >= 0)
        rc = ask (line, sizeof (line), "finalize_ack");
    forget_own ();
    pmi_wire.initialized = 0;
    return rc;
}

int pmi_wire_barrier (void)
{
    char line[PMI_WIRE_LINE_MAX] = "cmd=barrier_in\n";
    return pmi_wire.fd < 0 ? 0 : ask (line, sizeof (line), "barrier_out");
}

int pmi_wire_put (const char *key, const char *value)
{
    char line[PMI_WIRE_LINE_MAX];
    int n;

    if (pmi_wire.fd < 0)
        return put_own (key, value);
    n = snprintf (line, sizeof (line), "cmd=put kvsname=%s key=%s value=%s\n", pmi_wire.kvsname, key, value);
    return n < 0 || (size_t)n >= sizeof (line) ? -1 : ask (line, sizeof (line), "put_result");
}

static int copy (const char *text, size_t length, char *value, int size)
{
    if (size > 0) {
        size_t fits = length < (size_t)size ? length : (size_t)size - 1;
        memcpy (value, text, fits);
        value[fits] = '\0';
    }
    return (int)length;
}

int pmi_wire_get (const char *key, char *value, int size)
{
    char line[PMI_WIRE_LINE_MAX];
    const char *text;
    size_t length;
    int n;

    if (pmi_wire.fd < 0) {
        text = get_own (key);
        return text ? copy (text, strlen (text), value, size) : -1;
    }
    n = snprintf (line, sizeof (line), "cmd=get kvsname=%s key=%s\n", pmi_wire.kvsname, key);
    if (n < 0 || (size_t)n >= sizeof (line) || ask (line, sizeof (line), "get_result") < 0)
        return -1;
    text = word (line, "value", &length);
    return text ? copy (text, length, value, size) : -1;
}

int pmi_wire_number (const char *cmd, const char *member, int *number)
{
    char line[PMI_WIRE_LINE_MAX];
    char wanted[64];

    if (pmi_wire.fd < 0) {
        *number = strcmp (member, "size") == 0 ? pmi_wire.size : 0;
        return 0;
    }
    snprintf (line, sizeof (line), "cmd=get_%s\n", cmd);
    snprintf (wanted, sizeof (wanted), "%s", cmd);
    return ask (line, sizeof (line), wanted) < 0 ? -1 : number_of (line, member, number);
}

void pmi_wire_abort (int exit_code, const char *message)
{
    char line[PMI_WIRE_LINE_MAX];
    const char *text = message ? message : "";

    if (pmi_wire.initialized && pmi_wire.fd >= 0) {
        /* The message is the rest of the line. */
        snprintf (line, sizeof (line) - 1, "cmd=abort exitcode=%d%s%.1024s", exit_code, *text ? " error_msg=" : "", text);
        for (char *at = line; *at; at++)
            if (*at == '\n')
                *at = ' ';
        strcat (line, "\n");
        if (write_all (line, strlen (line)) == 0)
            exit (exit_code);
    }
    /* Nobody is there to pass it on. */
    fprintf (stderr, "PMI_Abort: (%d) %s\n", pmi_wire.initialized ? pmi_wire.rank : -1, text);
    exit (exit_code);
}

/* ---- who is on this node */

/* Maps come as blocks of ranks: both kinds are read by next_block(), which returns 1 with a block, 0 at the end, -1 when it is none. */
struct block {
    int node;
    int nodes;
    int per_node;
    int repeat;
};

/* "(vector,(NODE,NODES,PER_NODE),...)", used again when there are more ranks. */
static int next_pmi_block (const char **at, struct block *block)
{
    block->repeat = 1;
    if (!(*at = strchr (*at + 1, '(')))
        return 0;
    return sscanf (*at, "(%d,%d,%d)", &block->node, &block->nodes, &block->per_node) == 3 ? 1 : -1;
}

/* {"version":1,"map":[[NODE,NODES,PER_NODE,REPEAT],...]}, from the outer bracket on. */
static int next_flux_block (const char **at, struct block *block)
{
    if (!(*at = strchr (*at + 1, '[')))
        return 0;
    return sscanf (*at, "[%d,%d,%d,%d]", &block->node, &block->nodes, &block->per_node, &block->repeat) == 4 ? 1 : -1;
}

struct search {
    int wanted_rank; /* whose node is to be found; -1: already known */
    int node;
    int *ranks;
    int max;
    int found;
};

/* The ranks of a block, from `rank` on. Returns the rank behind it. */
static int look_into (struct search *search, const struct block *block, int rank)
{
    for (int r = 0; r < block->repeat; r++)
        for (int i = 0; i < block->nodes; i++)
            for (int j = 0; j < block->per_node; j++, rank++) {
                if (rank >= pmi_wire.size)
                    return rank;
                if (search->wanted_rank == rank)
                    search->node = block->node + i;
                if (search->wanted_rank < 0 && block->node + i == search->node) {
                    if (search->ranks && search->found < search->max)
                        search->ranks[search->found] = rank;
                    search->found++;
                }
            }
    return rank;
}

static int search_map (struct search *search, const char *map)
{
    const char *flux = strchr (map, '[');
    int (*next_block) (const char **at, struct block *block) = flux ? next_flux_block : next_pmi_block;
    int rank = 0;

    while (rank < pmi_wire.size) {
        const char *at = flux ? flux : map;
        struct block block;
        int before = rank;
        int rc;
        while (rank < pmi_wire.size && (rc = next_block (&at, &block)) != 0) {
            if (rc < 0)
                return -1;
            rank = look_into (search, &block, rank);
        }
        if (rank == before)
            return -1;
    }
    return 0;
}

int pmi_wire_clique (int *ranks, int max)
{
    char map[PMI_WIRE_LINE_MAX];
    struct search mine = { .wanted_rank = pmi_wire.rank, .node = -1 };
    struct search others = { .wanted_rank = -1, .ranks = ranks, .max = max };

    /* The map of Flux is the shorter one: it is there when the other would not fit. Without any, a process knows only itself. */
    if (pmi_wire.size == 1
        || ((pmi_wire_get ("flux.taskmap", map, sizeof (map)) < 0 || !*map)
            && (pmi_wire_get ("PMI_process_mapping", map, sizeof (map)) < 0 || !*map))) {
        if (max > 0 && ranks)
            ranks[0] = pmi_wire.rank;
        return 1;
    }
    if (search_map (&mine, map) < 0 || mine.node < 0)
        return -1;
    others.node = mine.node;
    return search_map (&others, map) < 0 ? -1 : others.found;
}
