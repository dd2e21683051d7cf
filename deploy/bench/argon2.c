// Argon2id as fast as libargon2 goes: hashes in a loop for some seconds on as many threads as asked, prints a second's
// worth.
// usage: argon2 PASSES MEMORY_KIB LANES THREADS SECONDS
#include <argon2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static unsigned passes, memory, lanes;
static double seconds;
static long hashes;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *work(void *unused) {
  (void)unused;
  char salt[16] = "a salt of 16 by", encoded[256];
  for (double end = now() + seconds; now() < end;) {
    if (argon2id_hash_encoded(passes, memory, lanes, "password", 8, salt, sizeof salt, 32, encoded, sizeof encoded)) exit(1);
    __atomic_add_fetch(&hashes, 1, __ATOMIC_RELAXED);
  }
  return NULL;
}

int main(int count, char **a) {
  if (count != 6) {
    fprintf(stderr, "usage: argon2 PASSES MEMORY_KIB LANES THREADS SECONDS\n");
    return 2;
  }
  passes = (unsigned)atoi(a[1]), memory = (unsigned)atoi(a[2]), lanes = (unsigned)atoi(a[3]), seconds = atof(a[5]);
  pthread_t threads[64];
  int width = atoi(a[4]);
  double began = now();
  for (int i = 0; i < width && i < 64; i++) pthread_create(&threads[i], NULL, work, NULL);
  for (int i = 0; i < width && i < 64; i++) pthread_join(threads[i], NULL);
  printf("%.3f\n", (double)hashes / (now() - began));
  return 0;
}
