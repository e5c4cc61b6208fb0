//! What Linux says of this machine. What it does not say, or hides from a service, is None.

use std::fs;

use crate::adapt::sensors::value;

/// Memory in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub total: u64,
    pub available: u64,
}

/// The processor's name; of an ARM machine what its cores are called, with their number.
#[must_use]
pub fn processor() -> Option<String> {
    processor_in(&fs::read_to_string("/proc/cpuinfo").ok()?)
}

/// What a single-board computer calls itself.
#[must_use]
pub fn board() -> Option<String> {
    let name = fs::read_to_string("/proc/device-tree/model").ok()?;
    Some(name.trim_end_matches('\0').trim().to_owned())
}

#[must_use]
pub fn memory() -> Option<Memory> {
    memory_in(&fs::read_to_string("/proc/meminfo").ok()?)
}

/// The most memory that this process has had resident so far, in MiB.
#[must_use]
pub fn peak_resident() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    #[allow(clippy::cast_precision_loss)] // far below 2^53
    value(&status, "VmHWM:").map(|kib| kib as f64 / 1024.0)
}

/// Bytes of memory that this process has resident now.
#[must_use]
pub fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    value(&status, "VmRSS:").map(|kib| kib * 1024)
}

/// What this machine is called.
#[must_use]
pub fn name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Linux's release.
#[must_use]
pub fn kernel() -> Option<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    Some(release.trim().to_owned())
}

fn memory_in(meminfo: &str) -> Option<Memory> {
    Some(Memory {
        total: value(meminfo, "MemTotal:")? / 1024,
        available: value(meminfo, "MemAvailable:")? / 1024,
    })
}

fn processor_in(cpuinfo: &str) -> Option<String> {
    let values = |key: &'static str| {
        cpuinfo.lines().filter_map(move |line| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == key).then(|| value.trim())
        })
    };
    let mut cores: Vec<(String, usize)> = Vec::new();
    for (implementer, part) in values("CPU implementer").zip(values("CPU part")) {
        let name = core(implementer, part);
        match cores.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => cores.push((name, 1)),
        }
    }
    if cores.is_empty() {
        return values("model name").next().map(str::to_owned);
    }
    let names = cores
        .iter()
        .map(|(name, count)| format!("{count} x {name}"));
    Some(names.collect::<Vec<_>>().join(", "))
}

/// The core's name by the numbers of its identification register.
fn core(implementer: &str, part: &str) -> String {
    let name = match (implementer, part) {
        ("0x41", "0xd03") => "Cortex-A53",
        ("0x41", "0xd04") => "Cortex-A35",
        ("0x41", "0xd05") => "Cortex-A55",
        ("0x41", "0xd07") => "Cortex-A57",
        ("0x41", "0xd08") => "Cortex-A72",
        ("0x41", "0xd09") => "Cortex-A73",
        ("0x41", "0xd0a") => "Cortex-A75",
        ("0x41", "0xd0b") => "Cortex-A76",
        ("0x41", "0xd0c") => "Neoverse-N1",
        ("0x41", "0xd0d") => "Cortex-A77",
        ("0x41", "0xd40") => "Neoverse-V1",
        ("0x41", "0xd41") => "Cortex-A78",
        ("0x41", "0xd42") => "Cortex-A78AE",
        ("0x41", "0xd44") => "Cortex-X1",
        ("0x41", "0xd46") => "Cortex-A510",
        ("0x41", "0xd47") => "Cortex-A710",
        ("0x41", "0xd49") => "Neoverse-N2",
        ("0x41", "0xd4f") => "Neoverse-V2",
        ("0x4e", "0x003") => "Denver 2",
        ("0x4e", "0x004") => "Carmel",
        _ => return format!("ARM core {implementer}/{part}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arm_machine_is_its_cores() {
        let core =
            |part: &str| format!("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n");
        let text = [core("0xd05"), core("0xd05"), core("0xd0b"), core("0xfff")].concat();
        assert_eq!(
            processor_in(&text).unwrap(),
            "2 x Cortex-A55, 1 x Cortex-A76, 1 x ARM core 0x41/0xfff"
        );
    }

    #[test]
    fn another_machine_has_a_model_name() {
        let text =
            "processor\t: 0\nmodel name\t: AMD EPYC\nprocessor\t: 1\nmodel name\t: AMD EPYC\n";
        assert_eq!(processor_in(text).unwrap(), "AMD EPYC");
        assert_eq!(processor_in(""), None);
    }

    #[test]
    fn memory_is_read_in_mib() {
        let text = "MemTotal:        4096 kB\nMemFree: 7 kB\nMemAvailable:    2048 kB\n";
        let memory = memory_in(text);
        assert_eq!(
            memory,
            Some(Memory {
                total: 4,
                available: 2
            })
        );
        assert_eq!(memory_in("MemTotal: many"), None);
    }

    #[test]
    fn this_process_has_had_memory() {
        assert!(peak_resident().unwrap() > 0.5);
    }
}
