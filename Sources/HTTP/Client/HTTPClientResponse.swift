/// What came back.
public struct HTTPClientResponse: Sendable {
  /// The status code.
  public let status: Int
  /// The fields in the order sent, names in lower case.
  public let fields: [(name: String, value: String)]
  /// The decoded body.
  public let body: [UInt8]

  /// The value of the first field called `name` (lower case), nil if there is none.
  public func field(_ name: String) -> String? {
    fields.first { $0.name == name }?.value
  }
}
