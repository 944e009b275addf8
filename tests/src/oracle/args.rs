//! What `args:` means: patterns of the first, second … argument that is not an option, under every reading of
//! the command line.

use super::glob;

/// Whether some reading matches, and whether every reading does.
pub fn readings(patterns: &[String], args: &[Vec<u8>]) -> (bool, bool) {
    let mut all = Vec::new();
    read(args, Vec::new(), false, false, &mut all);
    let fits = |operands: &Vec<&Vec<u8>>| {
        patterns.len() <= operands.len()
            && patterns.iter().zip(operands).all(|(pattern, operand)| glob::text(pattern, operand))
    };
    (all.iter().any(fits), all.iter().all(fits))
}

/// Collects, for every reading, the arguments that are not options.
fn read<'a>(
    args: &'a [Vec<u8>],
    operands: Vec<&'a Vec<u8>>,
    behind_option: bool,
    no_more_options: bool,
    all: &mut Vec<Vec<&'a Vec<u8>>>,
) {
    let Some((arg, rest)) = args.split_first() else {
        return all.push(operands);
    };
    if behind_option {
        // It is the value of the option before it …
        read(rest, operands.clone(), false, false, all);
        // … or it is not:
    }
    if !no_more_options && arg == b"--" {
        return read(rest, operands, false, true, all);
    }
    if !no_more_options && arg.len() > 1 && arg[0] == b'-' {
        let may_take_the_next = !arg.contains(&b'=');
        return read(rest, operands, may_take_the_next, false, all);
    }
    let mut operands = operands;
    operands.push(arg);
    read(rest, operands, false, no_more_options, all);
}
