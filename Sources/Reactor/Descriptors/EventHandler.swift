import CLinux

/// What epoll reports of a descriptor.
public struct ReadyEvents: OptionSet, Sendable {
  /// The kernel's bits, as in epoll_ctl(2).
  public let rawValue: UInt32

  /// The events with the kernel's bits `rawValue`.
  @inlinable
  public init(rawValue: UInt32) {
    self.rawValue = rawValue
  }

  /// There are bytes, connections or an end to be read.
  public static let readable = ReadyEvents(rawValue: 0x001)
  /// There is room to write, or a connect has ended.
  public static let writable = ReadyEvents(rawValue: 0x004)
  /// The descriptor has failed; always reported.
  public static let error = ReadyEvents(rawValue: 0x008)
  /// Both directions are closed; always reported.
  public static let hangup = ReadyEvents(rawValue: 0x010)
  /// The peer has closed its writing direction.
  static let peerClosed = ReadyEvents(rawValue: 0x2000)
  /// Asks for edge-triggering: reported once per change, so the handler must read until the kernel has no more.
  static let edgeTriggered = ReadyEvents(rawValue: 0x8000_0000)
}

/// Receives what a reactor has for it. A subclass owns a descriptor, a timer, or output that must be written before the
/// loop sleeps; the reactor's slot table keeps it alive while it is registered.
open class EventHandler {
  /// Whether its events are handled before those of all others of the same turn.
  public final var goesFirst = false

  /// A handler that ignores everything.
  public init() {}

  /// A registered descriptor is ready.
  open func ready(_ events: ReadyEvents, on reactor: isolated Reactor) {}

  /// A timer made for this handler has reached its deadline.
  open func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {}

  /// The loop is about to sleep, and this handler had asked to be called before.
  open func flush(on reactor: isolated Reactor) {}
}
