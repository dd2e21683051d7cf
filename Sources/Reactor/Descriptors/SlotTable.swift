/// Which handler a descriptor belongs to. The descriptor is the index; a generation number tells an event of the
/// present registration from one that was queued for an earlier owner of the same number.
///
/// The table owns its handlers: one that is taken out is released only at the end of the turn, because it may be the
/// very one that is running.
struct SlotTable: ~Copyable {
  private struct Slot {
    var handler: Unmanaged<EventHandler>?
    var generation: UInt32
  }

  private var slots: UnsafeMutablePointer<Slot>
  private var capacity = 1024
  private var retired: [Unmanaged<EventHandler>] = []

  init() {
    slots = .allocate(capacity: capacity)
    slots.initialize(repeating: Slot(handler: nil, generation: 0), count: capacity)
  }

  deinit {
    for index in 0..<capacity { slots[index].handler?.release() }
    for handler in retired { handler.release() }
    slots.deallocate()
  }

  /// Takes a share in `handler` for `fd` and returns the generation of this registration.
  mutating func insert(_ handler: EventHandler, fd: CInt) -> UInt32 {
    let index = Int(fd)
    if index >= capacity { grow(toHold: index) }
    precondition(slots[index].handler == nil, "descriptor registered twice")
    slots[index].handler = .passRetained(handler)
    slots[index].generation &+= 1
    return slots[index].generation
  }

  /// Ends the registration of `fd`, if there is one.
  mutating func remove(fd: CInt) {
    let index = Int(fd)
    guard index >= 0, index < capacity, let handler = slots[index].handler.take() else { return }
    retired.append(handler)
  }

  func handler(of fd: CInt, generation: UInt32) -> Unmanaged<EventHandler>? {
    let index = Int(fd)
    guard index >= 0, index < capacity, slots[index].generation == generation else { return nil }
    return slots[index].handler
  }

  func generation(of fd: CInt) -> UInt32 {
    precondition(fd >= 0 && Int(fd) < capacity, "a descriptor that was never registered")
    return slots[Int(fd)].generation
  }

  /// Lets go of the handlers taken out in this turn.
  mutating func releaseRetired() {
    guard !retired.isEmpty else { return }
    let handlers = retired
    retired.removeAll(keepingCapacity: true)
    for handler in handlers { handler.release() }
  }

  private mutating func grow(toHold index: Int) {
    var larger = capacity * 2
    while larger <= index { larger *= 2 }
    let grown = UnsafeMutablePointer<Slot>.allocate(capacity: larger)
    grown.moveInitialize(from: slots, count: capacity)
    (grown + capacity).initialize(repeating: Slot(handler: nil, generation: 0), count: larger - capacity)
    slots.deallocate()
    slots = grown
    capacity = larger
  }
}
