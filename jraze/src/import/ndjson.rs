//! NDJSON: one device a line, passed on as it is; the server judges the lines.

use std::{
    io::{BufRead, Read},
    path::Path,
};

use super::{Chunk, ReadError, Rejected, refuse_gzip};

/// The server takes lines up to this many bytes.
const LINE_LIMIT: usize = 64 * 1024;

/// Cuts `source` into chunks and gives each to `emit`, until it answers false.
pub(crate) fn read(
    path: &Path,
    mut source: impl BufRead,
    mut emit: impl FnMut(Chunk) -> bool,
) -> Result<(), ReadError> {
    let beginning = source.fill_buf().map_err(|source| ReadError::Io {
        path: path.to_owned(),
        source,
    })?;
    refuse_gzip(path, beginning)?;
    let mut chunk = Chunk::default();
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let mut limited = source.by_ref().take(LINE_LIMIT as u64 + 2);
        let read = limited.read_until(b'\n', &mut line);
        let read = read.map_err(|source| ReadError::Io {
            path: path.to_owned(),
            source,
        })?;
        if read == 0 {
            break;
        }
        number += 1;
        chunk.bytes_read += read as u64;
        let is_whole = line.ends_with(b"\n") || line.len() <= LINE_LIMIT;
        if !is_whole {
            let skipped = skip_line(&mut source);
            chunk.bytes_read += skipped.map_err(|source| ReadError::Io {
                path: path.to_owned(),
                source,
            })?;
        }
        let text = if number == 1 {
            line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&line)
        } else {
            &line
        };
        let text = text.trim_ascii();
        if !is_whole || text.len() > LINE_LIMIT {
            chunk.rejected.push(Rejected {
                line: number,
                code: "line_too_long".into(),
                reason: format!("the line is longer than {LINE_LIMIT} bytes"),
                pointer: None,
                input: String::from_utf8_lossy(&text[..text.len().min(200)]).into_owned(),
            });
        } else if !text.is_empty() {
            chunk.push(number, text);
        }
        if chunk.is_full() && !emit(std::mem::take(&mut chunk)) {
            return Ok(());
        }
    }
    if !chunk.is_empty() {
        emit(chunk);
    }
    Ok(())
}

/// Reads to the end of the line without keeping it; the number of bytes.
fn skip_line(source: &mut impl BufRead) -> std::io::Result<u64> {
    let mut skipped = 0;
    loop {
        let buffer = source.fill_buf()?;
        if buffer.is_empty() {
            return Ok(skipped);
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(buffer.len(), |end| end + 1);
        source.consume(used);
        skipped += used as u64;
        if end.is_some() {
            return Ok(skipped);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{LINE_LIMIT, read};
    use crate::import::{Chunk, LINES_PER_REQUEST};

    fn chunks(text: &str) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        read(Path::new("test"), text.as_bytes(), |chunk| {
            chunks.push(chunk);
            true
        })
        .unwrap();
        chunks
    }

    #[test]
    fn empty_lines_and_a_byte_order_mark_are_skipped_and_numbers_stay_those_of_the_file() {
        let chunks = chunks("\u{feff}{\"a\":1}\r\n\n  \n{\"a\":2}");
        assert_eq!(chunks.len(), 1);
        assert_eq!(chunks[0].body, b"{\"a\":1}\n{\"a\":2}\n");
        assert_eq!(chunks[0].numbers, [1, 4]);
        assert_eq!(chunks[0].input(1), (4, "{\"a\":2}".to_owned()));
    }

    #[test]
    fn a_long_file_is_cut_into_full_requests_and_the_rest() {
        let text = "{}\n".repeat(LINES_PER_REQUEST * 2 + 1);
        let sizes: Vec<_> = chunks(&text).iter().map(|chunk| chunk.numbers.len()).collect();
        assert_eq!(sizes, [LINES_PER_REQUEST, LINES_PER_REQUEST, 1]);
        let bytes: u64 = chunks(&text).iter().map(|chunk| chunk.bytes_read).sum();
        assert_eq!(bytes, text.len() as u64);
    }

    #[test]
    fn a_line_that_is_too_long_is_rejected_and_the_next_one_is_read_from_its_start() {
        let text = format!("{}\n{{}}\n", "x".repeat(LINE_LIMIT * 3));
        let chunks = chunks(&text);
        assert_eq!(chunks[0].rejected[0].line, 1);
        assert_eq!(chunks[0].numbers, [2]);
        assert_eq!(chunks[0].body, b"{}\n");
        assert_eq!(chunks[0].bytes_read, text.len() as u64);
    }
}
