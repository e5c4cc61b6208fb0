//! Files of weights that other programs wrote.

use std::path::Path;

use resnetd::model::import::torch;

/// PyTorch's files, in either format.
pub fn pth(bytes: &[u8]) -> bool {
    let read = torch::read(Path::new("fuzzed.pth"), bytes);
    if let Err(error) = &read {
        let message = error.to_string();
        assert!(!message.contains('\n'), "an error is one line: {message:?}");
    }
    read.is_ok()
}
