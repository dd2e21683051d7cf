import TestSupport
import Foundation
import Testing

@testable import Millrace

/// `.env` as Docker Compose reads it: what a user of that one expects, line by line.
@Suite(.timeLimit(.minutes(15))) struct DotEnvTests {
  private static let outside = ["OUTER": "seen", "EMPTY": "", "HOME": "/home/ann"]

  /// A file, and what it sets.
  @Test(
    arguments: [
      // Lines.
      ("", [:]), ("\n \t\n# A=1\n  # B=2\n", [:]),
      ("A=1\nB=2", ["A": "1", "B": "2"]),
      ("A=1\r\nB=\"2\"\r\n\r\nC='3'\r\n", ["A": "1", "B": "2", "C": "3"]),
      ("\u{FEFF}A=1", ["A": "1"]),
      ("A=1\nA=2", ["A": "2"]),
      ("export A=1\n  export\tB=2\nexport=3", ["A": "1", "B": "2", "export": "3"]),
      ("A = 1\nB\t=\t2 \n  C=3", ["A": "1", "B": "2", "C": "3"]),
      ("A: 1\nB:2", ["A": "1", "B": "2"]),
      ("A=\nB=  \nC=''\nD=\"\"", ["A": "", "B": "", "C": "", "D": ""]),
      ("A=a b  c \nB=x=y", ["A": "a b  c", "B": "x=y"]),
      // Comments.
      ("A=1 # note\nB=1\t# note", ["A": "1", "B": "1"]),
      ("A=1# no note\nB=#2\nC= # note", ["A": "1# no note", "B": "#2", "C": ""]),
      ("A=\"1 # no note\" # note\nB='1 # no note'\t# note", ["A": "1 # no note", "B": "1 # no note"]),
      // Quotes.
      (#"A=it's "so""#, ["A": #"it's "so""#]),
      (#"A='it\'s $OUTER ${OUTER} \n "so"'"#, ["A": #"it's $OUTER ${OUTER} \n "so""#]),
      (#"A="a\tb\nc\rd\"e\\f\$g\h""#, ["A": "a\tb\nc\rd\"e\\f$g\\h"]),
      (#"A=a\tb"#, ["A": #"a\tb"#]),
      ("A='one\ntwo # three\n'\nB=\"four\nfive\"\nC=6", ["A": "one\ntwo # three\n", "B": "four\nfive", "C": "6"]),
      ("A='one\r\ntwo'", ["A": "one\ntwo"]),
      // Variables.
      ("A=$OUTER/x\nB=${OUTER}y\nC=\"$OUTER-$HOME\"", ["A": "seen/x", "B": "seeny", "C": "seen-/home/ann"]),
      ("A=1\nB=${A}2\nC=$B", ["A": "1", "B": "12", "C": "12"]),
      ("OUTER=mine\nA=$OUTER", ["OUTER": "mine", "A": "seen"]),
      ("A=$NONE.\nB=${NONE}.", ["A": ".", "B": "."]),
      ("A=${NONE-d}\nB=${EMPTY-d}\nC=${OUTER-d}", ["A": "d", "B": "", "C": "seen"]),
      ("A=${NONE:-d e}\nB=${EMPTY:-d}\nC=${OUTER:-d}", ["A": "d e", "B": "d", "C": "seen"]),
      ("A=${NONE+d}\nB=${EMPTY+d}\nC=${EMPTY:+d}\nD=${OUTER:+d}", ["A": "", "B": "d", "C": "", "D": "d"]),
      ("A=${OUTER:?why}\nB=${EMPTY?why}", ["A": "seen", "B": ""]),
      ("A=${NONE:-${ALSO_NONE:-$OUTER}}!", ["A": "seen!"]),
      ("A=pa$$word\nB=\"pa$$word\"\nC='pa$$word'", ["A": "pa$word", "B": "pa$word", "C": "pa$$word"]),
    ] as [(String, [String: String])])
  func means(text: String, variables: [String: String]) throws {
    #expect(try DotEnv.parse(text, environment: DotEnvTests.outside) == variables)
  }

  /// A file, and the words in which it is refused.
  @Test(arguments: [
    ("A=1\nnonsense", "line 2: not NAME=value"), ("A", "line 1: not NAME=value"), ("=1", "line 1: not NAME=value"),
    ("A B=1", "line 1: not NAME=value"), ("export A", "line 1: not NAME=value"),
    ("A='1\nB=2\nC=3", "line 1: the quote ' is never closed"),
    ("X=\"1\n2\"\nA=\"1", "line 3: the quote \" is never closed"),
    ("A='1' 2", "line 1: text behind the closing quote"), ("A='1'#2", "line 1: text behind the closing quote"),
    ("A='1\n2'3", "line 2: text behind the closing quote"),
    ("\n\nA=${NONE:?set it in the shell}", "line 3: NONE is not set: set it in the shell"),
    ("A=${EMPTY:?}", "line 1: EMPTY is not set"), ("A=${NONE?}", "line 1: NONE is not set"),
    ("A=${OUTER", "line 1: a ${ without its }"),
    ("A=cost$", "line 1: a $ without a name; one that stands for itself is written $$, or the value in single quotes"),
    ("A=$5", "line 1: a $ without a name; one that stands for itself is written $$, or the value in single quotes"),
    ("A=${OUTER:}", "line 1: behind ${OUTER there is none of } :- - :+ + :? ?"),
    ("A=${OUTER/x/y}", "line 1: behind ${OUTER there is none of } :- - :+ + :? ?"),
  ])
  func isRefused(text: String, reason: String) {
    #expect(throws: CommandError.configuration(".env, " + reason)) {
      try DotEnv.parse(text, environment: DotEnvTests.outside)
    }
  }

  @Test func aFileThatCannotBeReadStopsTheStartAndAMissingOneDoesNot() async throws {
    for (content, message) in [
      (Files.Content.unreadable("Permission denied"), "cannot read '.env': Permission denied"), (.missing, nil),
    ] as [(Files.Content, String?)] {
      let inputs = Configuration.Inputs(arguments: [], environment: [:], readFile: { _ in content })
      do throws(CommandError) {
        _ = try Configuration(for: .up, inputs)
        #expect(message == nil)
      } catch {
        #expect(error == .configuration(message ?? ""))
      }
    }
    // A folder of that name is there and no file; root could read any other.
    let folder = System.makeFolder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    mkdir(folder + "/.env", 0o755)
    #expect(Files.content(folder + "/.env") == .unreadable("Is a directory"))
    #expect(Files.content(folder + "/none") == .missing)
    try Data([0x41, 0x3D, 0xFF]).write(to: URL(fileURLWithPath: folder + "/latin"))
    #expect(Files.content(folder + "/latin") == .unreadable("it is not UTF-8"))
    let output = try await shell("cd \(folder); '\(executable)' up; echo $?")
    #expect(output == "millrace: cannot read '.env': Is a directory\n78\n")
  }

  @Test func aVariableOfTheFileMayUseTheEnvironment() throws {
    let text = "MILLRACE_PORT=${BASE:-90}01 # ours\r\n"
    func port(_ environment: [String: String]) throws -> Int {
      try Configuration(
        for: .up, .init(arguments: [], environment: environment, readFile: { $0 == ".env" ? .text(text) : .missing })
      ).integer(.port)
    }
    #expect(try port([:]) == 9001)
    #expect(try port(["BASE": "80"]) == 8001)
  }
}
