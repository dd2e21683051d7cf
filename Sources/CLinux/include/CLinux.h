// What the Glibc module leaves out of Linux: declarations and one-line shims, no logic.
#ifndef CLINUX_H
#define CLINUX_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/// The reactor that owns the calling thread, as an opaque address; 0 on any other thread.
extern _Thread_local uintptr_t clinux_reactor_of_thread;
static inline uintptr_t clinux_current_reactor(void) { return clinux_reactor_of_thread; }
static inline void clinux_set_current_reactor(uintptr_t reactor) { clinux_reactor_of_thread = reactor; }

/// A small number for the calling thread, given on its first call, never reused: which cell a metric adds to.
extern _Thread_local int32_t clinux_thread_number_cached;
int32_t clinux_assign_thread_number(void);
static inline int32_t clinux_thread_number(void) {
  return clinux_thread_number_cached ? clinux_thread_number_cached : clinux_assign_thread_number();
}

/// Nanoseconds of CLOCK_MONOTONIC.
static inline uint64_t clinux_monotonic_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline const void *clinux_memmem(const void *hay, size_t hay_length, const void *needle, size_t needle_length) {
  return memmem(hay, hay_length, needle, needle_length);
}

static inline int clinux_accept4(int fd, struct sockaddr_storage *address, socklen_t *length, int flags) {
  return accept4(fd, (struct sockaddr *)address, length, flags);
}

static inline int clinux_epoll_add(int epoll, int fd, uint32_t events, uint64_t tag) {
  struct epoll_event event = {.events = events, .data = {.u64 = tag}};
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}
static inline int clinux_epoll_modify(int epoll, int fd, uint32_t events, uint64_t tag) {
  struct epoll_event event = {.events = events, .data = {.u64 = tag}};
  return epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
}
static inline int clinux_epoll_remove(int epoll, int fd) { return epoll_ctl(epoll, EPOLL_CTL_DEL, fd, 0); }

/// Asks the kernel to send `signal` to this process when the thread that created it ends.
static inline int clinux_die_with_parent(int signal) { return prctl(PR_SET_PDEATHSIG, (unsigned long)signal, 0, 0, 0); }

/// TCP state of a connected socket (`TCP_ESTABLISHED` = 1, …) or -1: a cheap "has the peer closed?".
static inline int clinux_tcp_state(int fd) {
  struct tcp_info info;
  socklen_t length = sizeof info;
  return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 ? info.tcpi_state : -1;
}

#endif
