/// A path as it stands in a target, compared with a literal byte by byte.
extension UnsafeRawBufferPointer {
  /// Whether it begins with `text`.
  func begins(with text: StaticString) -> Bool {
    guard count >= text.utf8CodeUnitCount else { return false }
    for index in 0..<text.utf8CodeUnitCount where self[index] != text.utf8Start[index] { return false }
    return true
  }

  /// Whether it is `text`.
  func equals(_ text: StaticString) -> Bool { count == text.utf8CodeUnitCount && begins(with: text) }
}
