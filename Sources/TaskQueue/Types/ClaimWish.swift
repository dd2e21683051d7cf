/// A claim that a worker's slot wishes to make.
public struct ClaimWish: Sendable {
  /// The group of slots whose tasks are wanted.
  public let group: Int16
  /// How many at most, cut to the largest prepared size.
  public let count: Int
  /// The place in line to start from; 0 looks at everything. It keeps a claim from walking over dead rows that an old
  /// snapshot elsewhere keeps from being removed. Suspects stand in a line of their own.
  public let floor: Int64
  /// Whether a task whose worker was lost is taken first.
  let takesSuspects: Bool
  /// The idle row to put in place before; nil: none.
  public let announces: WakeProtocol.Rows?

  /// A wish; see the properties. One that looks at everything takes suspects, too.
  public init(group: Int16, count: Int, floor: Int64, takesSuspects: Bool = false, announces: WakeProtocol.Rows?) {
    self.group = group
    self.count = count
    self.floor = floor
    self.takesSuspects = takesSuspects || floor == 0
    self.announces = announces
  }
}
