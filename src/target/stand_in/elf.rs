//! Just enough of ELF to tell whether a binary runs without anything else: no program header may ask for an interpreter.
//!
//! Fields as in the System V ABI, "ELF Header" and "Program Header".

/// What a Linux binary runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Machine {
    X86_64,
    Aarch64,
}

impl Machine {
    /// As image configurations call it.
    pub fn docker_name(self) -> &'static str {
        match self {
            Machine::X86_64 => "amd64",
            Machine::Aarch64 => "arm64",
        }
    }
}

const PT_INTERP: u32 = 3;

/// The machine of a statically linked, little-endian 64-bit executable; else what the file is instead.
pub(super) fn static_machine(file: &[u8]) -> Result<Machine, String> {
    let cut = || "is an ELF file that ends too early".to_owned();
    if !file.starts_with(b"\x7fELF") {
        return Err("is not a Linux binary".to_owned());
    }
    if file.get(4..6) != Some(&[2, 1]) {
        return Err("is not a 64-bit little-endian binary".to_owned());
    }
    // e_type: 2 is an executable, 3 one that can be placed anywhere.
    if !matches!(u16_at(file, 16).ok_or_else(cut)?, 2 | 3) {
        return Err("is not an executable".to_owned());
    }
    let machine = match u16_at(file, 18).ok_or_else(cut)? {
        62 => Machine::X86_64,
        183 => Machine::Aarch64,
        other => return Err(format!("is for ELF machine {other}, expected x86-64 or AArch64")),
    };
    let headers = u64_at(file, 32).and_then(|at| usize::try_from(at).ok()).ok_or_else(cut)?;
    let size = usize::from(u16_at(file, 54).ok_or_else(cut)?);
    let count = usize::from(u16_at(file, 56).ok_or_else(cut)?);
    if count == 0 {
        return Err("has no program headers".to_owned());
    }
    for index in 0..count {
        let at = index.checked_mul(size).and_then(|offset| offset.checked_add(headers)).ok_or_else(cut)?;
        if u32_at(file, at).ok_or_else(cut)? == PT_INTERP {
            return Err("is dynamically linked".to_owned());
        }
    }
    Ok(machine)
}

fn bytes<const N: usize>(file: &[u8], at: usize) -> Option<[u8; N]> {
    file.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(file: &[u8], at: usize) -> Option<u16> {
    bytes(file, at).map(u16::from_le_bytes)
}

fn u32_at(file: &[u8], at: usize) -> Option<u32> {
    bytes(file, at).map(u32::from_le_bytes)
}

fn u64_at(file: &[u8], at: usize) -> Option<u64> {
    bytes(file, at).map(u64::from_le_bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub const LOAD: u32 = 1;
    pub const INTERP: u32 = PT_INTERP;

    /// A file with an ELF header for x86-64 and program headers of these types.
    pub fn program(types: &[u32]) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[16..18].copy_from_slice(&3u16.to_le_bytes());
        file[18..20].copy_from_slice(&62u16.to_le_bytes());
        file[32..40].copy_from_slice(&64u64.to_le_bytes());
        file[54..56].copy_from_slice(&56u16.to_le_bytes());
        let count = u16::try_from(types.len()).expect("a test has few headers");
        file[56..58].copy_from_slice(&count.to_le_bytes());
        for kind in types {
            file.extend_from_slice(&kind.to_le_bytes());
            file.extend_from_slice(&[0; 52]);
        }
        file
    }

    #[test]
    fn only_a_static_executable_is_taken() {
        assert_eq!(static_machine(&program(&[LOAD, 2])), Ok(Machine::X86_64));
        let why = |file: &[u8]| static_machine(file).expect_err("this is no static binary");
        assert_eq!(why(&program(&[LOAD, INTERP])), "is dynamically linked");
        assert_eq!(why(&program(&[])), "has no program headers");
        assert_eq!(why(b"#!/bin/sh\n"), "is not a Linux binary");
        let mut object = program(&[LOAD]);
        object[16] = 1;
        assert_eq!(why(&object), "is not an executable");
        let mut arm = program(&[LOAD]);
        arm[18] = 183;
        assert_eq!(static_machine(&arm), Ok(Machine::Aarch64));
    }

    #[test]
    fn no_damaged_file_makes_the_reader_panic() {
        let whole = program(&[LOAD, LOAD]);
        for end in 0..whole.len() - 52 {
            assert!(static_machine(&whole[..end]).is_err());
        }
        let mut far = whole;
        far[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(static_machine(&far), Err("is an ELF file that ends too early".to_owned()));
    }
}
