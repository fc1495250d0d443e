/* A program that is linked to libpmi.so: tells what the library says, and what its neighbour put. */
#include <stdio.h>
#include <string.h>

int PMI_Init (int *);
int PMI_Initialized (int *);
int PMI_Finalize (void);
int PMI_Abort (int, const char *);
int PMI_Barrier (void);
int PMI_Get_rank (int *);
int PMI_Get_size (int *);
int PMI_Get_universe_size (int *);
int PMI_Get_appnum (int *);
int PMI_Get_clique_size (int *);
int PMI_Get_clique_ranks (int *, int);
int PMI_KVS_Get_my_name (char *, int);
int PMI_KVS_Get_value_length_max (int *);
int PMI_KVS_Put (const char *, const char *, const char *);
int PMI_KVS_Commit (const char *);
int PMI_KVS_Get (const char *, const char *, char *, int);
int PMI_Spawn_multiple (int, const char **, const char ***, const int *, const int *, const void **, int, const void *, int *);

#define MUST(call) if ((rc = (call)) != 0) { printf ("%s: %d\n", #call, rc); return 1; }

int main (int argc, char **argv)
{
    int rc, spawned, initialized, rank, size, universe, app, n, longest;
    int ranks[64];
    char name[256], key[64], value[2048];

    if (PMI_Get_rank (&rank) != 1)
        return 2; /* PMI_ERR_INIT */
    MUST (PMI_Init (&spawned));
    MUST (PMI_Initialized (&initialized));
    MUST (PMI_Get_rank (&rank));
    MUST (PMI_Get_size (&size));
    MUST (PMI_Get_universe_size (&universe));
    MUST (PMI_Get_appnum (&app));
    MUST (PMI_KVS_Get_my_name (name, sizeof (name)));
    MUST (PMI_KVS_Get_value_length_max (&longest));
    if (argc > 1 && strcmp (argv[1], "abort") == 0) {
        if (rank == size - 1)
            PMI_Abort (7, "told to abort");
        PMI_Barrier ();
        return 0;
    }
    if (argc > 1 && strcmp (argv[1], "wrong") == 0) {
        memset (value, 'x', sizeof (value));
        value[sizeof (value) - 1] = '\0';
        printf ("%d %d %d %d %d %d\n", PMI_KVS_Put (name, "a b", "c"), PMI_KVS_Put (name, "k", value), PMI_KVS_Put ("other", "k", "v"),
                PMI_KVS_Get (name, "nosuch", value, sizeof (value)), PMI_Get_size (NULL),
                PMI_Spawn_multiple (1, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL));
        return PMI_Finalize ();
    }
    snprintf (key, sizeof (key), "key-%d", rank);
    snprintf (value, sizeof (value), "value of rank %d", rank);
    MUST (PMI_KVS_Put (name, key, value));
    MUST (PMI_KVS_Commit (name));
    MUST (PMI_Barrier ());
    snprintf (key, sizeof (key), "key-%d", (rank + 1) % size);
    MUST (PMI_KVS_Get (name, key, value, sizeof (value)));
    MUST (PMI_Get_clique_size (&n));
    MUST (PMI_Get_clique_ranks (ranks, 64));
    printf ("%d/%d spawned=%d universe=%d app=%d max=%d clique=%d..%d: %s\n", rank, size, spawned, universe, app, longest, ranks[0], ranks[n - 1], value);
    MUST (PMI_Finalize ());
    return PMI_Get_rank (&rank) == 1 ? 0 : 3;
}
