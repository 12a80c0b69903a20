//! Static types of T-SQL values, their order of precedence and the names by which messages call them.

/// Length of `(max)` types.
pub const MAX: u16 = 0xFFFF;

/// A T-SQL type. Lengths are bytes for char and binary, UTF-16 units for nchar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ty {
    /// The type of a bare NULL.
    Null,
    /// bit
    Bit,
    /// tinyint
    TinyInt,
    /// smallint
    SmallInt,
    /// int
    Int,
    /// bigint
    BigInt,
    /// decimal(p, s)
    Decimal(u8, u8),
    /// money
    Money,
    /// smallmoney
    SmallMoney,
    /// real
    Real,
    /// float
    Float,
    /// date
    Date,
    /// time(n)
    Time(u8),
    /// smalldatetime
    SmallDateTime,
    /// datetime
    DateTime,
    /// datetime2(n)
    DateTime2(u8),
    /// datetimeoffset(n)
    DateTimeOffset(u8),
    /// char(n)
    Char(u16),
    /// varchar(n)
    VarChar(u16),
    /// nchar(n)
    NChar(u16),
    /// nvarchar(n)
    NVarChar(u16),
    /// binary(n)
    Binary(u16),
    /// varbinary(n)
    VarBinary(u16),
    /// uniqueidentifier
    Guid,
}

impl Ty {
    /// The name in messages and in `sys.types`.
    pub fn name(self) -> &'static str {
        match self {
            Ty::Null => "NULL",
            Ty::Bit => "bit",
            Ty::TinyInt => "tinyint",
            Ty::SmallInt => "smallint",
            Ty::Int => "int",
            Ty::BigInt => "bigint",
            Ty::Decimal(..) => "numeric",
            Ty::Money => "money",
            Ty::SmallMoney => "smallmoney",
            Ty::Real => "real",
            Ty::Float => "float",
            Ty::Date => "date",
            Ty::Time(_) => "time",
            Ty::SmallDateTime => "smalldatetime",
            Ty::DateTime => "datetime",
            Ty::DateTime2(_) => "datetime2",
            Ty::DateTimeOffset(_) => "datetimeoffset",
            Ty::Char(_) => "char",
            Ty::VarChar(_) => "varchar",
            Ty::NChar(_) => "nchar",
            Ty::NVarChar(_) => "nvarchar",
            Ty::Binary(_) => "binary",
            Ty::VarBinary(_) => "varbinary",
            Ty::Guid => "uniqueidentifier",
        }
    }

    /// Place in the order of precedence (SQL Server's documented list, reversed: higher wins).
    pub fn rank(self) -> u8 {
        match self {
            Ty::Null => 0,
            Ty::Binary(_) => 1,
            Ty::VarBinary(_) => 2,
            Ty::Char(_) => 3,
            Ty::VarChar(_) => 4,
            Ty::NChar(_) => 5,
            Ty::NVarChar(_) => 6,
            Ty::Guid => 7,
            Ty::Bit => 8,
            Ty::TinyInt => 9,
            Ty::SmallInt => 10,
            Ty::Int => 11,
            Ty::BigInt => 12,
            Ty::SmallMoney => 13,
            Ty::Money => 14,
            Ty::Decimal(..) => 15,
            Ty::Real => 16,
            Ty::Float => 17,
            Ty::Time(_) => 18,
            Ty::Date => 19,
            Ty::SmallDateTime => 20,
            Ty::DateTime => 21,
            Ty::DateTime2(_) => 22,
            Ty::DateTimeOffset(_) => 23,
        }
    }

    /// Integer types with bit.
    pub fn is_int(self) -> bool {
        matches!(self, Ty::Bit | Ty::TinyInt | Ty::SmallInt | Ty::Int | Ty::BigInt)
    }

    /// Types stored as scaled 128-bit integers.
    pub fn is_exact(self) -> bool {
        matches!(self, Ty::Decimal(..) | Ty::Money | Ty::SmallMoney)
    }

    /// real and float.
    pub fn is_float(self) -> bool {
        matches!(self, Ty::Real | Ty::Float)
    }

    /// Numbers of any kind.
    pub fn is_number(self) -> bool {
        self.is_int() || self.is_exact() || self.is_float()
    }

    /// Character types.
    pub fn is_text(self) -> bool {
        matches!(self, Ty::Char(_) | Ty::VarChar(_) | Ty::NChar(_) | Ty::NVarChar(_))
    }

    /// nchar and nvarchar.
    pub fn is_national(self) -> bool {
        matches!(self, Ty::NChar(_) | Ty::NVarChar(_))
    }

    /// binary and varbinary.
    pub fn is_binary(self) -> bool {
        matches!(self, Ty::Binary(_) | Ty::VarBinary(_))
    }

    /// Types with a date, a time or both.
    pub fn is_temporal(self) -> bool {
        self.rank() >= 18
    }

    /// Declared length of character and binary types.
    pub fn len(self) -> u16 {
        match self {
            Ty::Char(n) | Ty::VarChar(n) | Ty::NChar(n) | Ty::NVarChar(n) | Ty::Binary(n) | Ty::VarBinary(n) => n,
            Ty::Bit => 1,
            Ty::TinyInt => 3,
            Ty::SmallInt => 6,
            Ty::Int => 11,
            Ty::BigInt => 20,
            Ty::Guid => 36,
            Ty::Null => 1,
            _ => 41,
        }
    }

    /// Decimal precision and scale that hold every value of a number type.
    pub fn exact(self) -> (u8, u8) {
        match self {
            Ty::Bit => (1, 0),
            Ty::TinyInt => (3, 0),
            Ty::SmallInt => (5, 0),
            Ty::Int => (10, 0),
            Ty::BigInt => (19, 0),
            Ty::Money => (19, 4),
            Ty::SmallMoney => (10, 4),
            Ty::Decimal(p, s) => (p, s),
            _ => (38, 6),
        }
    }

    /// Scale of fractional seconds.
    pub fn scale(self) -> u8 {
        match self {
            Ty::Time(n) | Ty::DateTime2(n) | Ty::DateTimeOffset(n) => n,
            Ty::DateTime => 3,
            _ => 0,
        }
    }

    /// The column type under SQLite's STRICT tables.
    pub fn storage(self) -> &'static str {
        match self {
            Ty::Real | Ty::Float => "REAL",
            t if t.is_text() => "TEXT",
            t if t.is_exact() || t.is_binary() || matches!(t, Ty::Guid | Ty::DateTimeOffset(_)) => "BLOB",
            _ => "INTEGER",
        }
    }

    /// A number that carries the type into SQL functions.
    pub fn code(self) -> i64 {
        let (a, b) = match self {
            Ty::Decimal(p, s) => (u16::from(p), s),
            Ty::Time(n) | Ty::DateTime2(n) | Ty::DateTimeOffset(n) => (u16::from(n), 0),
            t if t.is_text() || t.is_binary() => (t.len(), 0),
            _ => (0, 0),
        };
        (i64::from(self.rank()) << 32) | (i64::from(a) << 8) | i64::from(b)
    }

    /// Reads [`Ty::code`] back.
    pub fn from_code(code: i64) -> Ty {
        let a = u16::try_from((code >> 8) & 0xFFFF).unwrap_or(MAX);
        let n = u8::try_from(a & 0xFF).unwrap_or(0);
        let s = u8::try_from(code & 0xFF).unwrap_or(0);
        match code >> 32 {
            1 => Ty::Binary(a),
            2 => Ty::VarBinary(a),
            3 => Ty::Char(a),
            4 => Ty::VarChar(a),
            5 => Ty::NChar(a),
            6 => Ty::NVarChar(a),
            7 => Ty::Guid,
            8 => Ty::Bit,
            9 => Ty::TinyInt,
            10 => Ty::SmallInt,
            11 => Ty::Int,
            12 => Ty::BigInt,
            13 => Ty::SmallMoney,
            14 => Ty::Money,
            15 => Ty::Decimal(n, s),
            16 => Ty::Real,
            17 => Ty::Float,
            18 => Ty::Time(n),
            19 => Ty::Date,
            20 => Ty::SmallDateTime,
            21 => Ty::DateTime,
            22 => Ty::DateTime2(n),
            23 => Ty::DateTimeOffset(n),
            _ => Ty::Null,
        }
    }

    /// The type that two operands of a comparison, CASE or UNION meet in.
    pub fn unify(self, other: Ty) -> Ty {
        if self == other {
            return self;
        }
        let (lo, hi) = if self.rank() <= other.rank() { (self, other) } else { (other, self) };
        if lo == Ty::Null {
            return hi;
        }
        let wide = |a: u16, b: u16| if a == MAX || b == MAX { MAX } else { a.max(b) };
        match hi {
            Ty::Decimal(..) if lo.is_int() || lo.is_exact() => {
                let ((p1, s1), (p2, s2)) = (lo.exact(), hi.exact());
                let s = s1.max(s2);
                Ty::Decimal(((p1 - s1).max(p2 - s2) + s).min(38), s)
            }
            Ty::Time(n) => Ty::Time(n.max(lo.scale())),
            Ty::DateTime2(n) => Ty::DateTime2(n.max(lo.scale())),
            Ty::DateTimeOffset(n) => Ty::DateTimeOffset(n.max(lo.scale())),
            Ty::NVarChar(n) if lo.is_text() => Ty::NVarChar(wide(n, lo.len())),
            Ty::NChar(n) if matches!(lo, Ty::VarChar(_)) => Ty::NVarChar(wide(n, lo.len())),
            Ty::NChar(n) if lo.is_text() => Ty::NChar(wide(n, lo.len())),
            Ty::VarChar(n) if lo.is_text() => Ty::VarChar(wide(n, lo.len())),
            Ty::Char(n) if lo.is_text() => Ty::Char(wide(n, lo.len())),
            Ty::VarBinary(n) => Ty::VarBinary(wide(n, lo.len())),
            Ty::Binary(n) => Ty::Binary(wide(n, lo.len())),
            _ => hi,
        }
    }

    /// Whether a stored value of this type can stand for `to` without being touched.
    pub fn same_storage(self, to: Ty) -> bool {
        if self == to || self == Ty::Null {
            return true;
        }
        let fits = |a: u16, b: u16| b == MAX || a <= b && a != MAX;
        match (self, to) {
            (a, b) if a.is_int() && b.is_int() => a.rank() <= b.rank(),
            (Ty::VarChar(a), Ty::VarChar(b))
            | (Ty::NVarChar(a) | Ty::NChar(a), Ty::NVarChar(b))
            | (Ty::VarChar(a) | Ty::Char(a), Ty::NVarChar(b))
            | (Ty::Char(a), Ty::VarChar(b))
            | (Ty::Binary(a) | Ty::VarBinary(a), Ty::VarBinary(b)) => fits(a, b),
            (Ty::Decimal(p1, s1), Ty::Decimal(p2, s2)) => s1 == s2 && p1 <= p2,
            (Ty::Real, Ty::Float) => true,
            (Ty::Date, Ty::DateTime2(_)) | (Ty::SmallDateTime | Ty::Date, Ty::SmallDateTime) => {
                self == to || matches!(to, Ty::DateTime2(_))
            }
            (Ty::DateTime2(a), Ty::DateTime2(b)) | (Ty::Time(a), Ty::Time(b)) | (Ty::DateTimeOffset(a), Ty::DateTimeOffset(b)) => a <= b,
            _ => false,
        }
    }
}
