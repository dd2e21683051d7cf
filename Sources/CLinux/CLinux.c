#include "CLinux.h"

#include <stdatomic.h>

_Thread_local uintptr_t clinux_reactor_of_thread = 0;
_Thread_local int32_t clinux_thread_number_cached = 0;

int32_t clinux_assign_thread_number(void) {
  static atomic_int next = 1;
  return clinux_thread_number_cached = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed);
}
