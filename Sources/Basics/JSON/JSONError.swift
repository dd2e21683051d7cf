/// Why a JSON text was refused.
public struct JSONError: Error, Equatable, Sendable {
  /// Whose mistake it is.
  public enum Kind: Equatable, Sendable {
    /// The text is not JSON (RFC 8259), or nested too deeply: a client gets 400.
    case notJSON
    /// The text is JSON, but not of the expected shape: a client gets 422.
    case wrongShape
  }

  /// Whose mistake it is.
  public let kind: Kind
  /// How many bytes stand before the mistake.
  public let offset: Int
  /// What was wrong, for people.
  public let reason: StaticString
  /// The field in which it was wrong, empty if it is not in one.
  public internal(set) var field: StaticString = ""

  /// Same kind, place and field.
  public static func == (left: JSONError, right: JSONError) -> Bool {
    left.kind == right.kind && left.offset == right.offset && left.field.description == right.field.description
  }
}

/// The names of the fields that a reader wants from an object. Made once, as a static constant.
public struct JSONFields: Sendable {
  let names: [StaticString]

  /// Up to 64 names without escapes; a reader gets their positions.
  public init(_ names: StaticString...) {
    precondition(names.count <= 64, "an object is read by at most 64 fields")
    self.names = names
  }
}
