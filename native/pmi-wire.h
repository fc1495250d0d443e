/* PMI-1 over a socket (RFC 13): what libpmi.so and libpmi2.so are made of.
 *
 * The process manager's end is at descriptor PMI_FD. Without it the process is alone: rank 0 of 1, with keys of its own. Functions
 * return 0, or -1 when the connection is lost or the answer is a refusal. One request at a time; no threads.
 */
#ifndef FLUX_TS_PMI_WIRE_H
#define FLUX_TS_PMI_WIRE_H

#define PMI_WIRE_LINE_MAX 4096
#define PMI_WIRE_KVSNAME_MAX 256

struct pmi_wire {
    int initialized;
    int fd; /* -1: alone */
    int rank;
    int size;
    int spawned;
    int kvsname_max;
    int keylen_max;
    int vallen_max;
    char kvsname[PMI_WIRE_KVSNAME_MAX];
};

extern struct pmi_wire pmi_wire;

int pmi_wire_init (void);
int pmi_wire_finalize (void);
int pmi_wire_barrier (void);
int pmi_wire_put (const char *key, const char *value);
/* `value` gets at most `size` bytes, NUL included. Returns the length of the whole value, -1 when there is none. */
int pmi_wire_get (const char *key, char *value, int size);
/* get_universe_size and get_appnum. */
int pmi_wire_number (const char *cmd, const char *member, int *number);
/* Ends the process. */
void pmi_wire_abort (int exit_code, const char *message);

/* Ranks on this node, ascending; at most `max` are stored in `ranks` (which may be NULL). Returns their number; 1, only this
 * rank, when nobody knows who is where; -1 when the map makes no sense. */
int pmi_wire_clique (int *ranks, int max);

#endif
