//! No telemetry. ONNX Runtime's own builds (1.32 for one) note the start of every process with the program's name, to be
//! sent home later, before its interface offers a way to switch that off. Its environment variable is heard in time.

/// What switches it off.
const SWITCH: &str = "ORT_DISABLE_TELEMETRY";

/// Starts the program again with the switch in its environment, unless the user has set it to anything; this does not
/// return then. A process cannot change its own environment without `unsafe`.
pub(super) fn off() {
    #[cfg(all(unix, feature = "onnxruntime"))]
    if std::env::var_os(SWITCH).is_none()
        && let Ok(program) = std::env::current_exe()
    {
        use std::os::unix::process::CommandExt;
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_else(|| program.clone().into_os_string());
        // It comes back only where it failed; what was asked for can be done all the same.
        let _error = std::process::Command::new(program).arg0(name).args(arguments).env(SWITCH, "1").exec();
    }
}
