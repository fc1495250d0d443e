// MPI programs in one: hello, ring, allreduce, abort CODE, spawn.
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int hello(int rank, int size) {
  printf("hello from %d of %d\n", rank, size);
  return 0;
}

/* A number goes round, each rank adds its own. */
static int ring(int rank, int size) {
  int sum = rank;
  if (size > 1) {
    if (rank > 0) {
      MPI_Recv(&sum, 1, MPI_INT, rank - 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      sum += rank;
    }
    MPI_Send(&sum, 1, MPI_INT, (rank + 1) % size, 0, MPI_COMM_WORLD);
    if (rank == 0) MPI_Recv(&sum, 1, MPI_INT, size - 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  }
  if (rank == 0) printf("ring %d\n", sum);
  return 0;
}

static int allreduce(int rank, int size) {
  double mine = rank + 1, sum = 0;
  MPI_Allreduce(&mine, &sum, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  if (sum != size * (size + 1) / 2.0) return 1;
  if (rank == 0) printf("allreduce %.0f\n", sum);
  return 0;
}

static int spawn(void) {
  MPI_Comm children;
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  int code = MPI_Comm_spawn("/bin/true", MPI_ARGV_NULL, 1, MPI_INFO_NULL, 0, MPI_COMM_WORLD, &children, MPI_ERRCODES_IGNORE);
  printf("spawn %s\n", code == MPI_SUCCESS ? "worked" : "refused");
  return 0;
}

int main(int argc, char **argv) {
  int rank, size, result = 1;
  const char *mode = argc > 1 ? argv[1] : "hello";
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (!strcmp(mode, "hello")) result = hello(rank, size);
  else if (!strcmp(mode, "ring")) result = ring(rank, size);
  else if (!strcmp(mode, "allreduce")) result = allreduce(rank, size);
  else if (!strcmp(mode, "spawn")) result = spawn();
  else if (!strcmp(mode, "abort")) {
    if (rank == size - 1) MPI_Abort(MPI_COMM_WORLD, argc > 2 ? atoi(argv[2]) : 1);
    MPI_Barrier(MPI_COMM_WORLD);
  }
  MPI_Finalize();
  return result;
}
