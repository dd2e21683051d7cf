// What the Glibc module leaves out of Linux: declarations and one-line shims, no logic.
#ifndef CLINUX_H
#define CLINUX_H

#include <linux/filter.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/// The reactor that owns the calling thread, as an opaque address; 0 on any other thread.
extern _Thread_local uintptr_t clinux_reactor_of_thread;
static inline uintptr_t clinux_current_reactor(void) { return clinux_reactor_of_thread; }
static inline void clinux_set_current_reactor(uintptr_t reactor) { clinux_reactor_of_thread = reactor; }

/// Nanoseconds of CLOCK_MONOTONIC.
uint64_t clinux_monotonic_ns(void);

/// accept4(2); `address` may be null.
int clinux_accept4(int fd, struct sockaddr_storage *address, socklen_t *length, int flags);

/// recv(2), send(2) and epoll_wait(2) without the C library's cancellation points: in a process with several threads
/// those cost two atomic operations a call, and nobody here cancels threads.
static inline ssize_t clinux_recv(int fd, void *buffer, size_t length, int flags) {
  return syscall(SYS_recvfrom, fd, buffer, length, flags, 0, 0);
}
static inline ssize_t clinux_send(int fd, const void *buffer, size_t length, int flags) {
  return syscall(SYS_sendto, fd, buffer, length, flags, 0, 0);
}
static inline int clinux_epoll_wait(int epoll, struct epoll_event *events, int count, int timeout) {
  return (int)syscall(SYS_epoll_pwait, epoll, events, count, timeout, 0, 0);
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
int clinux_die_with_parent(int signal);

/// Makes this process undumpable: no core dump, and no other process of its user reads its memory.
void clinux_close_memory(void);

/// A signal's name without its SIG, or null.
const char *clinux_signal_name(int signal);

/// Whether a signal is ignored: its constant for that is no value that Swift could compare.
int clinux_ignores(int signal);

/// Replaces what stands in an argument of this process, counted from 0 for the program, behind its first `from` bytes,
/// by up to four asterisks: for ps(1) and whoever else reads /proc/pid/cmdline.
void clinux_hide_argument(int index, size_t from);

/// Names a thread as tools show it; longer names are cut at 15 bytes.
void clinux_name_thread(unsigned long thread, const char *name);

/// Gives the pages that malloc has no use for back to the system (malloc_trim(3)).
void clinux_give_back_memory(void);

/// From now on malloc(3) takes blocks of at least so many bytes from the system and gives them back at once; otherwise
/// it keeps them, and more of them the larger they were (mallopt(3), M_MMAP_THRESHOLD).
void clinux_map_large_blocks(size_t bytes);

/// Bytes that malloc(3) has handed out in the whole process.
size_t clinux_allocated_bytes(void);

/// Bytes in the socket's send queue that the peer has not acknowledged (TCP) or read (Unix), or -1.
int clinux_unsent_bytes(int fd);
/// Bytes in the socket's receive queue, or -1.
int clinux_unread_bytes(int fd);

/// A relaxed add to a cell that only the calling thread writes and any thread may read: one plain add.
static inline void clinux_cell_add(uint64_t *cell, uint64_t amount) {
  __atomic_store_n(cell, __atomic_load_n(cell, __ATOMIC_RELAXED) + amount, __ATOMIC_RELAXED);
}
/// The same for a cell that several threads write.
static inline void clinux_cell_add_shared(uint64_t *cell, uint64_t amount) {
  __atomic_fetch_add(cell, amount, __ATOMIC_RELAXED);
}
static inline uint64_t clinux_cell_load(const uint64_t *cell) { return __atomic_load_n(cell, __ATOMIC_RELAXED); }

/// The calling thread's block of metric cells, null until it first counts.
extern _Thread_local uint64_t *clinux_metric_cells;
static inline uint64_t *clinux_thread_cells(void) { return clinux_metric_cells; }
static inline void clinux_set_thread_cells(uint64_t *cells) { clinux_metric_cells = cells; }

#endif
