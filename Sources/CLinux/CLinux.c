#define _GNU_SOURCE
#include "CLinux.h"

#include <linux/sockios.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <malloc.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>

_Thread_local uintptr_t clinux_reactor_of_thread = 0;
_Thread_local uint64_t *clinux_metric_cells = 0;

uint64_t clinux_monotonic_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int clinux_accept4(int fd, struct sockaddr_storage *address, socklen_t *length, int flags) {
  return accept4(fd, (struct sockaddr *)address, length, flags);
}

int clinux_die_with_parent(int signal) { return prctl(PR_SET_PDEATHSIG, (unsigned long)signal, 0, 0, 0); }

void clinux_give_back_memory(void) { malloc_trim(0); }

void clinux_map_large_blocks(size_t bytes) { mallopt(M_MMAP_THRESHOLD, (int)bytes); }

size_t clinux_allocated_bytes(void) {
  struct mallinfo2 all = mallinfo2();
  return all.uordblks + all.hblkhd;
}

int clinux_unsent_bytes(int fd) {
  int bytes;
  return ioctl(fd, SIOCOUTQ, &bytes) == 0 ? bytes : -1;
}

int clinux_unread_bytes(int fd) {
  int bytes;
  return ioctl(fd, FIONREAD, &bytes) == 0 ? bytes : -1;
}

const char *clinux_signal_name(int signal) { return sigabbrev_np(signal); }

void clinux_close_memory(void) { prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }

int clinux_ignores(int signal) {
  struct sigaction action;
  return sigaction(signal, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static char **arguments;
static int argument_count;

// glibc hands these to what runs before main; they are the very bytes that /proc/pid/cmdline shows.
__attribute__((constructor)) static void keep_arguments(int count, char **values) {
  argument_count = count;
  arguments = values;
}

void clinux_hide_argument(int index, size_t from) {
  if (index < 0 || index >= argument_count || strlen(arguments[index]) <= from) return;
  char *secret = arguments[index] + from;
  size_t length = strlen(secret);
  memset(secret, 0, length);
  memset(secret, '*', length < 4 ? length : 4);
}

void clinux_name_thread(unsigned long thread, const char *name) {
  char cut[16];
  strncpy(cut, name, sizeof cut - 1);
  cut[sizeof cut - 1] = 0;
  pthread_setname_np(thread, cut);
}
