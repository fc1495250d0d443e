/* A PMI exchange as an MPI library does it at its start, with the library that the job's environment names: each rank puts a value,
 * all meet in a barrier, each gets its neighbour's. Rank 0 prints the median of its times. Build with: cc -O2 FILE -ldl */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 5
#define CARD_BYTES 100

static void *library;

static void *function (const char *name)
{
    void *found = dlsym (library, name);
    if (!found) {
        fprintf (stderr, "%s\n", dlerror ());
        exit (1);
    }
    return found;
}

static double now (void)
{
    struct timespec t;
    clock_gettime (CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static int ascending (const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main (void)
{
    const char *path = getenv ("FLUX_PMI_LIBRARY_PATH");
    library = dlopen (path ? path : "libpmi.so", RTLD_NOW);
    if (!library) {
        fprintf (stderr, "%s\n", dlerror ());
        return 1;
    }
    int (*init) (int *) = function ("PMI_Init");
    int (*get_rank) (int *) = function ("PMI_Get_rank");
    int (*get_size) (int *) = function ("PMI_Get_size");
    int (*get_name) (char *, int) = function ("PMI_KVS_Get_my_name");
    int (*put) (const char *, const char *, const char *) = function ("PMI_KVS_Put");
    int (*commit) (const char *) = function ("PMI_KVS_Commit");
    int (*barrier) (void) = function ("PMI_Barrier");
    int (*get) (const char *, const char *, char *, int) = function ("PMI_KVS_Get");
    int (*finalize) (void) = function ("PMI_Finalize");

    int spawned, rank, size;
    char name[256], key[64], card[CARD_BYTES + 1], got[1024];
    double seconds[ROUNDS];
    if (init (&spawned) || get_rank (&rank) || get_size (&size) || get_name (name, sizeof (name)))
        return 1;
    memset (card, 'x', CARD_BYTES);
    card[CARD_BYTES] = '\0';
    for (int round = 0; round < ROUNDS; round++) {
        if (barrier ())
            return 1;
        double begin = now ();
        snprintf (key, sizeof (key), "card.%d.%d", round, rank);
        if (put (name, key, card) || commit (name) || barrier ())
            return 1;
        snprintf (key, sizeof (key), "card.%d.%d", round, (rank + 1) % size);
        if (get (name, key, got, sizeof (got)) || strcmp (got, card) != 0)
            return 1;
        seconds[round] = now () - begin;
    }
    qsort (seconds, ROUNDS, sizeof (double), ascending);
    if (rank == 0)
        printf ("seconds=%f\n", seconds[ROUNDS / 2]);
    return finalize ();
}
