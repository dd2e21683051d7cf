import CLinux
import Glibc

extension Reactor {
  /// Reports `events` of `fd` to `handler` until `deregister`. Whether level- or edge-triggered is the caller's choice,
  /// said where it calls.
  /// - Throws: `SystemError` if the kernel refuses (`ENOSPC`: the user's limit of watches, `ENOMEM`).
  public func register(_ handler: EventHandler, fd: CInt, events: ReadyEvents) throws(SystemError) {
    let generation = slots.insert(handler, fd: fd)
    do {
      try systemCall("epoll_ctl") { clinux_epoll_add(epoll, fd, events.rawValue, tag(fd, generation)) }
    } catch {
      slots.remove(fd: fd)
      throw error
    }
  }

  /// Changes which events of a registered `fd` are reported.
  public func modify(fd: CInt, events: ReadyEvents) {
    let result = clinux_epoll_modify(epoll, fd, events.rawValue, tag(fd, slots.generation(of: fd)))
    precondition(result == 0, "epoll_ctl refused to modify a registered descriptor")
  }

  /// Stops reporting `fd`; events of it that are already queued are recognised as stale. Call it before `close`.
  public func deregister(fd: CInt) {
    _ = clinux_epoll_remove(epoll, fd)
    slots.remove(fd: fd)
  }

  private func tag(_ fd: CInt, _ generation: UInt32) -> UInt64 {
    UInt64(generation) << 32 | UInt64(UInt32(bitPattern: fd))
  }
}
