//! CSV: a header, then one device a row. Read twice: once for the types of the columns, once to
//! send.

use std::{fs::File, io::Read as _, path::Path, sync::Arc};

use csv::{Position, ReaderBuilder, StringRecord, Trim};
use serde_json::{Map, Value, json};

use super::{
    Chunk, GZIP, LINES_PER_REQUEST, Origin, ReadError, Rejected,
    columns::{self, Column, Field, Kind, Mapping},
    infer::{Cells, Inferred},
    raw, refuse_gzip,
};

/// A CSV file whose columns are understood.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    /// The properties and their types, in the order of the columns.
    pub(crate) properties: Vec<Inferred>,
}

/// Cuts the file into chunks and gives each to `emit`, until it answers false.
pub(crate) fn read(path: &Path, table: &Table, mut emit: impl FnMut(Chunk) -> bool) -> Result<(), ReadError> {
    let broken = |source| ReadError::Csv {
        path: path.to_owned(),
        source,
    };
    let mut reader = open(path)?;
    let file = Arc::new(open_file(path)?);
    // The header was looked at by `inspect`; asking for it makes the reader skip it.
    reader.byte_headers().map_err(broken)?;
    let mut offset = reader.position().byte();
    let empty = |bytes_read| Chunk {
        bytes_read,
        origin: Some(Origin {
            file: Arc::clone(&file),
            rows: Vec::new(),
        }),
        ..Chunk::default()
    };
    let mut chunk = empty(offset);
    let mut record = StringRecord::new();
    loop {
        let row = match reader.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => {
                let number = record.position().map_or(0, Position::line);
                device(&table.columns, &record)
                    .map_err(|fault| fault.rejects(number))
                    .map(|device| (number, device))
            }
            Err(error) => Err(unreadable(error).map_err(broken)?),
        };
        let start = std::mem::replace(&mut offset, reader.position().byte());
        chunk.bytes_read += offset - start;
        match row {
            Ok((number, device)) => {
                chunk.push(number, device.to_string().as_bytes());
                if let Some(origin) = &mut chunk.origin {
                    origin.rows.push(start..offset);
                }
            }
            Err(rejected) => {
                let (line, input) = raw(&file, rejected.line, &(start..offset));
                chunk.rejected.push(Rejected {
                    line,
                    input,
                    ..rejected
                });
            }
        }
        if (chunk.is_full() || chunk.rejected.len() >= LINES_PER_REQUEST)
            && !emit(std::mem::replace(&mut chunk, empty(0)))
        {
            return Ok(());
        }
    }
    if !chunk.is_empty() {
        emit(chunk);
    }
    Ok(())
}

fn open_file(path: &Path) -> Result<File, ReadError> {
    File::open(path).map_err(|source| ReadError::Io {
        path: path.to_owned(),
        source,
    })
}

fn open(path: &Path) -> Result<csv::Reader<File>, ReadError> {
    Ok(ReaderBuilder::new().trim(Trim::All).from_reader(open_file(path)?))
}

/// What the columns are, with a type for every property: the first reading.
pub(crate) fn inspect(path: &Path, mappings: &[Mapping]) -> Result<Table, ReadError> {
    let broken = |source| ReadError::Csv {
        path: path.to_owned(),
        source,
    };
    let mut beginning = [0; GZIP.len()];
    // A file that is shorter is judged as CSV.
    if open_file(path)?.read_exact(&mut beginning).is_ok() {
        refuse_gzip(path, &beginning)?;
    }
    let mut reader = open(path)?;
    let header = reader.headers().map_err(broken)?.clone();
    let names: Vec<_> = header
        .iter()
        .map(|name| name.trim_start_matches('\u{feff}'))
        .collect();
    let resolved = columns::resolve(&names, mappings);
    let mut columns = resolved.map_err(|message| ReadError::Columns {
        path: path.to_owned(),
        message,
    })?;

    let file = open_file(path)?;
    let mut seen = vec![Cells::default(); columns.len()];
    let mut record = StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => break,
            // Rows that cannot be read are reported by the second pass.
            Err(error) => {
                unreadable(error).map_err(broken)?;
            }
            Ok(true) => {
                let end = reader.position().byte();
                let line = || match record.position() {
                    Some(start) => raw(&file, start.line(), &(start.byte()..end)).0,
                    None => 0,
                };
                for (cells, cell) in seen.iter_mut().zip(record.iter()) {
                    cells.see(line, cell);
                }
            }
        }
    }
    let mut properties = Vec::new();
    for ((column, cells), name) in columns.iter_mut().zip(seen).zip(names) {
        if let Column::Property { key, kind } = column {
            let spoiler = if kind.is_none() { cells.spoiler() } else { None };
            let kind = *kind.get_or_insert_with(|| cells.kind());
            properties.push(Inferred {
                column: name.to_owned(),
                key: key.clone(),
                kind,
                spoiler,
            });
        }
    }
    Ok(Table { columns, properties })
}

/// A row that the CSV reader refuses but can go on after.
fn unreadable(error: csv::Error) -> Result<Rejected, csv::Error> {
    let (position, reason) = match error.kind() {
        csv::ErrorKind::UnequalLengths {
            pos,
            expected_len,
            len,
        } => (
            pos,
            format!("the row has {len} cells, the header has {expected_len}"),
        ),
        csv::ErrorKind::Utf8 { pos, .. } => (pos, "the row is not UTF-8".to_owned()),
        _ => return Err(error),
    };
    let line = position.as_ref().map_or(0, Position::line);
    Ok(Rejected {
        line,
        code: "invalid_row".into(),
        reason,
        pointer: None,
        input: String::new(),
    })
}

/// What is wrong with a row.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    pointer: String,
    reason: String,
}

impl Fault {
    fn rejects(self, line: u64) -> Rejected {
        Rejected {
            line,
            code: "invalid_row".into(),
            reason: self.reason,
            pointer: Some(self.pointer),
            input: String::new(),
        }
    }
}

/// The import line of a row. Empty cells are absent.
fn device(columns: &[Column], record: &StringRecord) -> Result<Value, Fault> {
    let mut device = Map::new();
    let mut properties = Map::new();
    for (column, cell) in columns.iter().zip(record.iter()) {
        if cell.is_empty() {
            continue;
        }
        match column {
            Column::LeftOut => {}
            Column::Field(field @ (Field::SendPlatform | Field::DevicePlatform)) => {
                let number = columns::platform(*field, cell).ok_or_else(|| Fault {
                    pointer: format!("/{}", field.name()),
                    reason: format!(
                        "{cell:?} is no {}: expected {}",
                        field.name(),
                        columns::platforms(*field)
                    ),
                })?;
                device.insert(field.name().to_owned(), json!(number));
            }
            Column::Field(field) => {
                device.insert(field.name().to_owned(), json!(cell));
            }
            Column::Property { key, kind } => {
                let kind = kind.unwrap_or(Kind::Text);
                let value = kind.value(cell).ok_or_else(|| Fault {
                    pointer: format!("/properties/{key}"),
                    reason: format!("{cell:?} is no {}: expected {}", kind.name(), kind.expected()),
                })?;
                properties.insert(key.clone(), value);
            }
        }
    }
    let platform = device
        .entry(Field::DevicePlatform.name())
        .or_insert(json!(0))
        .clone();
    // The provider follows from the platform unless a column says otherwise.
    device.entry(Field::SendPlatform.name()).or_insert(platform);
    if !properties.is_empty() {
        device.insert("properties".to_owned(), Value::Object(properties));
    }
    Ok(Value::Object(device))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use serde_json::{Value, json};

    use super::{inspect, read};
    use crate::import::Rejected;

    fn imported(text: &[u8], maps: &[&str]) -> (Vec<Value>, Vec<Rejected>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        let maps: Vec<_> = maps.iter().map(|map| map.parse().unwrap()).collect();
        let (mut devices, mut inputs, mut rejected, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let table = inspect(file.path(), &maps).unwrap();
        read(file.path(), &table, |chunk| {
            let lines = chunk
                .body
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty());
            devices.extend(lines.map(|line| serde_json::from_slice::<Value>(line).unwrap()));
            inputs.extend((0..chunk.numbers.len()).map(|index| chunk.input(index)));
            rejected.extend(chunk.rejected);
            bytes += chunk.bytes_read;
            true
        })
        .unwrap();
        assert!(bytes <= fs::metadata(file.path()).unwrap().len());
        assert_eq!(inputs.len(), devices.len());
        for ((_, input), device) in inputs.iter().zip(&devices) {
            let first = input.split(',').next().unwrap();
            assert_eq!(device["external_id"], first, "the raw row belongs to the device");
        }
        (devices, rejected)
    }

    #[test]
    fn columns_become_fields_and_typed_properties_and_empty_cells_are_absent() {
        let text = b"\xEF\xBB\xBFexternal_id,push_token,device_platform,age,score,vip,plan\n\
            u1,tok1,android,31,1,true,gold\n\
            u2,tok2,ios,,2.5,false,\n";
        let (devices, rejected) = imported(text, &[]);
        assert_eq!(rejected, []);
        assert_eq!(
            devices[0],
            json!({"external_id": "u1", "push_token": "tok1", "device_platform": 1, "send_platform": 1,
                   "properties": {"age": 31, "score": 1.0, "vip": true, "plan": "gold"}})
        );
        assert_eq!(
            devices[1],
            json!({"external_id": "u2", "push_token": "tok2", "device_platform": 2, "send_platform": 2,
                   "properties": {"score": 2.5, "vip": false}})
        );
    }

    #[test]
    fn mappings_rename_and_type_columns() {
        let text = b"uid,send_platform,zip,tags,notes\nu1,APNS,08001,a;b,x\n";
        let maps = [
            "uid=external_id",
            "zip=postal_code:string",
            "tags=tags:list",
            "notes=",
        ];
        let (devices, _) = imported(text, &maps);
        assert_eq!(
            devices[0],
            json!({"external_id": "u1", "device_platform": 0, "send_platform": 2,
                   "properties": {"postal_code": "08001", "tags": ["a", "b"]}})
        );
    }

    #[test]
    fn a_wrong_row_is_rejected_with_its_line_and_the_rest_goes_on() {
        let text =
            b"external_id,device_platform,age\nu1,android,31\nu2, palm ,3\r\nu3\r\n\r\nu4,\xff,1\nu5,ios,1\n";
        let (devices, rejected) = imported(text, &["age=age:int"]);
        let ids: Vec<_> = devices
            .iter()
            .map(|device| device["external_id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, ["u1", "u5"]);
        let lines: Vec<_> = rejected.iter().map(|rejected| rejected.line).collect();
        assert_eq!(lines, [3, 4, 6], "as an editor counts them");
        assert_eq!(rejected[0].pointer.as_deref(), Some("/device_platform"));
        let inputs: Vec<_> = rejected.iter().map(|rejected| &rejected.input[..]).collect();
        assert_eq!(
            inputs,
            ["u2, palm ,3", "u3", "u4,\u{fffd},1"],
            "as they are written"
        );
        assert!(rejected[0].reason.contains("1 or android"));
    }
}
