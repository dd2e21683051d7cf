// Millrace, the executable: commands and configuration, nothing else.
//
// Called by people, containers and the launcher (which starts every role as `millrace api …`). It reads the settings
// (`Settings/`), fills the configuration of a role (`Roles/`) and hands over to the role's own room; small tools for
// operators are in `Tools/`. A new setting is an entry in `SettingsTable.swift`; a new command a case of `Command`.

import Glibc
import Launcher
import Reactor

let arguments = Array(CommandLine.arguments.dropFirst())
// Everybody on this machine can read a command line, for as long as it is there.
SecretFlags.hide(in: arguments)
// Before any thread starts: threads inherit what is blocked. Most tools watch no signals, so they end them as usual.
if CommandLineTool.watchesSignals(arguments) {
  SignalWatcher.block([SIGINT, SIGTERM, SIGHUP, SIGCHLD])
}
exit(CommandLineTool.run(arguments))
