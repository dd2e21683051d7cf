/// A claim that a worker's slot wishes to make.
public struct ClaimWish: Sendable {
  /// A lane, and the place in it to start from; 0 looks at everything. It keeps a claim from walking over dead rows
  /// that an old snapshot elsewhere keeps from being removed.
  public struct Place: Equatable, Sendable {
    let lane: Lane
    let floor: Int64
    /// How many of its line's tasks may run at once, over all workers; nil for as many as there are slots. It takes a
    /// claim of a single task to keep to that.
    let runningMax: Int32?

    /// The place `floor` of `lane`.
    public init(_ lane: Lane, floor: Int64, runningMax: Int32? = nil) {
      self.lane = lane
      self.floor = floor
      self.runningMax = runningMax
    }
  }

  /// Which tasks of a lane.
  public enum Attempts: Hashable, Sendable {
    /// All.
    case any
    /// Those that have another attempt after this one.
    case allButLast
    /// Those that have none.
    case last
  }

  /// The group of slots that runs what is claimed.
  public let group: Int16
  /// Where to look, and in which order: as long as there is enough in one lane, the next is not looked into.
  public let places: [Place]
  /// How many at most, or a sixteenth more where it would take dividing a place in line to keep to it.
  public let count: Int
  /// The idle row to put in place before; nil: none.
  public let announces: WakeProtocol.Rows?
  /// Which tasks; anything but all for tasks whose worker was lost.
  public let attempts: Attempts
  /// Whether tasks of these lanes share places in line. Where none do, a single one is claimed by a cheaper statement,
  /// which would take all of a place.
  let sharesPlaces: Bool

  /// A wish; see the properties.
  public init(
    group: Int16, places: [Place], count: Int, announces: WakeProtocol.Rows?, attempts: Attempts = .any,
    sharesPlaces: Bool = true
  ) {
    self.group = group
    self.places = places
    self.count = count
    self.announces = announces
    self.attempts = attempts
    self.sharesPlaces = sharesPlaces
  }
}
