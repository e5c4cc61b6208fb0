//! The emulated machine's only program: runs the tests with the arguments that the kernel passed on, and says in one
//! line how they went. When it ends, Linux panics, and with it the emulator ends.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

fn main() {
    match Command::new("/tests").args(std::env::args().skip(1)).status() {
        Ok(status) if status.success() => println!("EMULATED: passed"),
        Ok(status) => println!("EMULATED: failed, {status}"),
        Err(e) => println!("EMULATED: failed, {e}"),
    }
    // the panic would cut off what the serial port has not sent yet
    sleep(Duration::from_secs(2));
}
