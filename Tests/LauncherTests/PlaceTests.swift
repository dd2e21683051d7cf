import Testing

@testable import Launcher

@Suite(.timeLimit(.minutes(15))) struct PlaceTests {
  @Test func dataAreServedByTheVersionThatMadeThem() {
    let folders = { (versions: [Int]) in versions.map { "/usr/lib/postgresql/\($0)/bin" } }
    #expect(
      PostgresServer.candidates(version: nil, installed: [15, 9, 17], path: ["/bin"]) == folders([17, 15, 9]) + ["/bin"]
    )
    #expect(PostgresServer.candidates(version: 15, installed: [15, 17], path: ["/bin"]) == folders([15]))
    #expect(PostgresServer.candidates(version: 14, installed: [15, 17], path: ["/bin"]) == folders([14]))
    #expect(PostgresServer.candidates(version: 14, installed: [], path: ["/bin"]) == ["/bin"])
  }

  @Test func aPathThatASettingWouldMisreadIsNotPlain() {
    for path in ["/home/me/my projects/.millrace", "/srv/großes-rad_1.2+x"] { #expect(DataFolder.isPlain(path)) }
    for path in ["/a,b", "/a*2", "/a=b", "/o'clock", "/a\"b", "/a\\b", "/a\nb"] { #expect(!DataFolder.isPlain(path)) }
  }

  @Test func aWordIsQuotedOnlyWhereAShellNeedsIt() async throws {
    #expect(Shell.quoted("/tmp/.millrace/run") == "/tmp/.millrace/run")
    for text in ["a b", "o'clock", "$HOME;ls", "*"] {
      #expect(try await shell("printf %s \(Shell.quoted(text))") == text)
    }
  }
}
