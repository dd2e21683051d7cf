/// Words for a person's shell.
enum Shell {
  /// `text` as one word: in quotes if it has blanks or anything else that a shell would not take as it is.
  static func quoted(_ text: String) -> String {
    let isPlain = text.utf8.allSatisfy {
      switch $0 {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x80...: true
      default: "/._-+:,@%".utf8.contains($0)
      }
    }
    return isPlain
      ? text : "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
  }
}
