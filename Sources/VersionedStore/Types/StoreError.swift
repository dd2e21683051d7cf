/// Why the store did not do what it was asked.
public enum StoreError: Error, Equatable, Sendable, CustomStringConvertible {
  /// Another server has the partition.
  case held(by: String)
  /// The disk is full: nothing was written.
  case full
  /// Too much waits already: nothing was done.
  case busy
  /// What it needs cannot be reached: nothing was done.
  case unavailable(String)
  /// A file, or PostgreSQL, has failed: of a change it is not known whether it was done. Trying again may help.
  case failed(String)
  /// A file is not as it was written. Trying again does not help.
  case damaged(String)
  /// The store in this place is another one: of another program, or with another number of partitions.
  case foreign(String)

  /// One line for a person.
  public var description: String {
    switch self {
    case .held(let name): "'\(name)' has this partition"
    case .full: "the disk is full"
    case .busy: "too much waits already"
    case .unavailable(let reason), .failed(let reason), .damaged(let reason), .foreign(let reason): reason
    }
  }
}
