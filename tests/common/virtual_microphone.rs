//! A microphone without hardware: an ALSA device whose sound comes out of a FIFO.
//!
//! ALSA reads its configuration from the environment before anything else, so a test runs itself again as a child
//! process with that environment.
#![allow(dead_code, reason = "each test uses a part")]

use std::fs::File;
use std::path::Path;
use std::process::Command;

/// Set in a child: the folder of its devices.
const FOLDER: &str = "PERCEPT_TEST_MICROPHONE";
const ALSA: &str = "/usr/share/alsa/alsa.conf";
/// The frames per second that the sound of a device is taken to have.
pub const RATE: usize = 16_000;
/// Where [`fifo`] leads to.
pub const FIFO_DEVICE: &str = "micfifo";
/// Where the sound given to [`in_child`] leads to.
pub const FILE_DEVICE: &str = "micfile";

/// Runs the named test of this file again, with two ALSA devices: [`FIFO_DEVICE`] hears what is written to [`fifo`],
/// [`FILE_DEVICE`] hears `sound` as fast as it can. Gives what the child wrote; `None` in the child itself.
pub fn in_child(test: &str, sound: &[f32]) -> Option<String> {
    if is_child() {
        return None;
    }
    assert!(Path::new(ALSA).exists(), "{ALSA} is missing: install libasound2-data");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let device = |name: &str, input: &str, hint: &str| {
        format!(
            "pcm.{name} {{ type file  slave.pcm \"null\"  file /dev/null  infile \"{}\"  format \"raw\"  \
             hint {{ show on  description \"{hint}\" }} }}\n",
            path(input)
        )
    };
    let devices =
        device(FIFO_DEVICE, "mic.fifo", "fifo microphone") + &device(FILE_DEVICE, "mic.raw", "file microphone");
    std::fs::write(path("asound.conf"), devices).unwrap();
    assert!(Command::new("mkfifo").arg(path("mic.fifo")).status().unwrap().success());
    std::fs::write(path("mic.raw"), bytes(sound)).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder.path())
        .env("ALSA_CONFIG_PATH", format!("{ALSA}:{}", path("asound.conf")))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "the child failed:\n{text}");
    Some(text)
}

/// Whether this is the child.
pub fn is_child() -> bool {
    std::env::var_os(FOLDER).is_some()
}

/// In a child: what is written here, [`bytes`] of frames, [`FIFO_DEVICE`] hears.
pub fn fifo() -> File {
    let path = Path::new(&std::env::var_os(FOLDER).unwrap()).join("mic.fifo");
    // Open for reading too: the device opens and closes it while it is looked at.
    File::options().read(true).write(true).open(path).unwrap()
}

/// Frames as the devices take them.
pub fn bytes(sound: &[f32]) -> Vec<u8> {
    sound.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}
