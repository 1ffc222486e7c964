//! AVX-512 code in the instructions of AVX2. Masks become vectors: what is masked is computed in all lanes and blended, and
//! what is combined is combined bit by bit.

use super::build::Constants;
use super::isa::Isa;
use super::lanes::{EQUAL, LESS, LESS_OR_EQUAL, NOT_EQUAL};
use super::machine::{Class, Code, Form, Inst, Item, Operand, Reg, Writes};

/// The same on vectors of this size, unless something has no equal.
pub fn rewritten(items: Vec<Item>, constants: &mut Constants, isa: Isa) -> Option<Vec<Item>> {
    let mut highest = 0;
    items.iter().for_each(|item| item.each_register(|reg, _| highest = highest.max(reg.number)));
    let mut rewriting = Rewriting { isa, constants, items: Vec::with_capacity(items.len()), highest };
    for item in items {
        let item = item.map(|reg| Reg { class: isa.bank(reg.class), ..reg });
        match item {
            Item::Inst(inst) => rewriting.inst(inst)?,
            other => rewriting.items.push(other),
        }
    }
    Some(rewriting.items)
}

/// Instructions that are there under the same name, with the same number.
const SAME: [&str; 40] = [
    "vadd",
    "vsub",
    "vmul",
    "vdiv",
    "vsqrt",
    "vmin",
    "vmax",
    "vor",
    "vxor",
    "vblend",
    "vcmp",
    "vmovu",
    "vmov",
    "vmovddup",
    "vcvtdq2",
    "vcvttps2",
    "vcvttpd2",
    "vcvtsi2",
    "vfmadd231",
    "vfmadd213",
    "vfnmadd231",
    "vfnmadd213",
    "vpadd",
    "vpsub",
    "vpsllv",
    "vpsrlv",
    "vpmovsx",
    "vpmovzxb",
    "vshuf",
    "vunpckl",
    "vunpckh",
    "vperm2f",
    "vpextr",
    "vpinsr",
    "vextract",
    "vinsert",
    "vmovl",
    "vmovh",
    "vpackssdw",
    "vpacksswb",
];

/// Predicates of comparisons of integers, beside those that floats have too.
const NOT_LESS: i32 = 5;
const GREATER: i32 = 6;

/// All bits of a lane.
const ONES: u64 = u64::MAX;

struct Rewriting<'c> {
    isa: Isa,
    constants: &'c mut Constants,
    items: Vec<Item>,
    /// The highest number of a register.
    highest: u32,
}

/// Instructions on bits, whatever the lanes.
const fn bitwise(name: &'static str, byte: u8) -> Code {
    Code::float(name, 1, byte, 4)
}

const AND: Code = bitwise("vand", 0x54);
const AND_NOT: Code = bitwise("vandn", 0x55);
const OR: Code = bitwise("vor", 0x56);
const XOR: Code = bitwise("vxor", 0x57);
const BLEND: Code =
    Code { suffix: "ps", ..Code::integer("vblendv", 3, 0x4a, 4) }.writing(Writes::RegSelected);

impl Rewriting<'_> {
    fn push(&mut self, inst: Inst) {
        self.items.push(Item::Inst(inst));
    }

    fn fresh(&mut self) -> Reg {
        self.highest += 1;
        Reg { class: Class::Vector, number: self.highest }
    }

    /// The result of an instruction on vectors.
    fn computed(&mut self, code: Code, a: impl Into<Option<Reg>>, b: Operand) -> Reg {
        let result = self.fresh();
        self.push(Inst::new(code, result, a, b));
        result
    }

    /// An operand in a register.
    fn register(&mut self, operand: Operand) -> Reg {
        match operand {
            Operand::Reg(reg) if reg.class == Class::Vector => reg,
            other => {
                let reg = self.fresh();
                self.push(Inst::load(reg, other));
                reg
            }
        }
    }

    /// A number in all lanes of so many bytes.
    fn number(&mut self, bits: u64, width: usize) -> Operand {
        let bytes = bits.to_le_bytes()[..width].repeat(self.isa.bytes() / width);
        Operand::Memory(self.constants.place(&bytes))
    }

    /// `a` where the mask is set, else `b`.
    fn blend(&mut self, to: Reg, mask: Reg, a: Operand, b: Reg) {
        self.push(Inst::new(BLEND, to, b, a).masked(Some(mask)));
    }

    fn inst(&mut self, inst: Inst) -> Option<()> {
        match (inst.code.form, inst.mask) {
            (Form::Plain, _) => self.push(inst),
            (Form::Mask { .. }, _) => return self.on_masks(inst),
            (Form::Vector, Some(mask)) => return self.masked(inst, mask),
            (Form::Vector, None) => return self.on_vectors(inst),
        }
        Some(())
    }

    fn on_masks(&mut self, inst: Inst) -> Option<()> {
        let to = inst.reg?;
        let code = match inst.code.name {
            "kandw" => AND,
            "kandnw" => AND_NOT,
            "korw" => OR,
            "kxorw" => XOR,
            "knotw" => {
                self.inverted(to, inst.operand);
                return Some(());
            }
            "kmovw" | "kmovq" => {
                self.push(Inst::load(to, inst.operand));
                return Some(());
            }
            _ => return None,
        };
        self.push(Inst::new(code, to, inst.second, inst.operand));
        Some(())
    }

    fn inverted(&mut self, to: Reg, x: Operand) {
        let (x, ones) = (self.register(x), self.number(ONES, 8));
        self.push(Inst::new(XOR, to, x, ones));
    }

    fn masked(&mut self, inst: Inst, mask: Reg) -> Option<()> {
        const LOAD: Code = Code { suffix: "ps", ..Code::integer("vmaskmov", 2, 0x2c, 4) };
        const STORE: Code = Code { byte: 0x2e, ..LOAD }.writing(Writes::NoRegister);
        let Inst { code, reg, operand, zeroes, .. } = inst;
        let to = reg?;
        match (code.name, operand) {
            ("vblendm", operand) => self.blend(to, mask, operand, inst.second?),
            ("vmovu", Operand::Memory(_)) if code.writes == Writes::NoRegister => {
                self.push(Inst::new(STORE, to, mask, operand));
            }
            ("vmovu", Operand::Memory(_)) if zeroes => self.push(Inst::new(LOAD, to, mask, operand)),
            ("vmovu", Operand::Reg(_)) if zeroes => self.push(Inst::new(AND, to, mask, operand)),
            ("vmovu", Operand::Reg(_)) => self.blend(to, mask, operand, to),
            ("vgatherd" | "vgatherq", _) => self.push(Inst { second: Some(mask), mask: None, ..inst }),
            _ if zeroes => return None,
            _ => {
                let result = self.fresh();
                if code.writes == Writes::RegUpdated {
                    self.push(Inst::load(result, Operand::Reg(to)));
                }
                self.on_vectors(Inst { reg: Some(result), mask: None, ..inst })?;
                self.blend(to, mask, Operand::Reg(result), to);
            }
        }
        Some(())
    }

    fn on_vectors(&mut self, inst: Inst) -> Option<()> {
        let Inst { code, operand, .. } = inst;
        match code.name {
            "vcvttpd2" if code.suffix == "qq" => return None,
            name if SAME.contains(&name) => self.push(inst),
            // In these the bit for 64 bits is no longer set.
            "vbroadcast" | "vpermil" => self.push(Inst { code: Code { is_wide: false, ..code }, ..inst }),
            "vpand" | "vpor" | "vpxor" => {
                self.push(Inst { code: Code { suffix: "", is_wide: false, ..code }, ..inst });
            }
            "vrndscale" => self.push(Inst { code: Code { name: "vround", is_wide: false, ..code }, ..inst }),
            "vpsll" | "vpsrl" => {
                let x = self.register(operand);
                self.push(Inst { operand: Operand::Reg(x), ..inst });
            }
            "vpmovm2" => self.push(Inst::load(inst.reg?, operand)),
            "vpbroadcast" => self.broadcast(inst),
            "vperm" if inst.immediate.is_some() || !code.is_wide => self.push(inst),
            "vpmull" | "vpabs" | "vpsrav" | "vpmaxs" | "vpmins" if !code.is_wide => self.push(inst),
            "vpabs" => self.magnitude(inst.reg?, operand),
            "vcvtqq2" => self.double(inst.reg?, operand),
            _ => return self.of_two(inst),
        }
        Some(())
    }

    /// Instructions with two operands that several take the place of.
    fn of_two(&mut self, inst: Inst) -> Option<()> {
        let Inst { code: Code { is_wide, .. }, operand, .. } = inst;
        let (to, x) = (inst.reg?, inst.second?);
        match inst.code.name {
            "vptestm" => {
                let (zero, equal) = (self.number(0, 8), equal(is_wide));
                let is_zero = self.computed(equal, x, zero);
                self.inverted(to, Operand::Reg(is_zero));
            }
            "vpcmp" => return self.compared(to, inst.immediate?, x, operand, is_wide),
            "vpcmpu" if inst.immediate == Some(LESS) => self.below(to, x, operand, is_wide),
            "vprolv" => self.rotated(to, x, operand, is_wide),
            "vpmull" => self.product(to, x, operand),
            "vpsrav" => self.shifted(to, x, operand),
            "vpmaxs" | "vpmins" => {
                let y = self.register(operand);
                let is_greater = self.computed(greater(is_wide), x, Operand::Reg(y));
                let (a, b) = if inst.code.name == "vpmaxs" { (x, y) } else { (y, x) };
                self.blend(to, is_greater, Operand::Reg(a), b);
            }
            _ => return None,
        }
        Some(())
    }

    /// A number from a general register, or a byte from memory, in every lane.
    fn broadcast(&mut self, inst: Inst) {
        if inst.code.suffix == "b" {
            return self.push(inst);
        }
        let (width, byte) = if inst.code.is_wide { (8, 0x59) } else { (4, 0x58) };
        let to_vector = Code::integer("vmov", 1, 0x6e, width).scalar();
        let first = self.computed(to_vector, None, inst.operand);
        let code = Code { byte, is_wide: false, ..inst.code };
        self.push(Inst::new(code, inst.reg, None, Operand::Reg(first)));
    }

    fn compared(&mut self, to: Reg, predicate: i32, a: Reg, b: Operand, is_wide: bool) -> Option<()> {
        let (code, a, b, is_inverted) = match predicate {
            EQUAL | NOT_EQUAL => (equal(is_wide), a, b, predicate == NOT_EQUAL),
            GREATER | LESS_OR_EQUAL => (greater(is_wide), a, b, predicate == LESS_OR_EQUAL),
            LESS | NOT_LESS => (greater(is_wide), self.register(b), Operand::Reg(a), predicate == NOT_LESS),
            _ => return None,
        };
        if is_inverted {
            let result = self.computed(code, a, b);
            self.inverted(to, Operand::Reg(result));
        } else {
            self.push(Inst::new(code, to, a, b));
        }
        Some(())
    }

    /// Where a number is not negative, and below a bound that is not negative either.
    fn below(&mut self, to: Reg, x: Reg, bound: Operand, is_wide: bool) {
        let (negative, bound) = (self.number(ONES, 8), self.register(bound));
        let is_natural = self.computed(greater(is_wide), x, negative);
        let is_below = self.computed(greater(is_wide), bound, Operand::Reg(x));
        self.push(Inst::new(AND, to, is_natural, Operand::Reg(is_below)));
    }

    /// To the left, by the remainder of the width.
    fn rotated(&mut self, to: Reg, x: Reg, by: Operand, is_wide: bool) {
        let width = if is_wide { 8 } else { 4 };
        let bits = 8 * width as u64;
        let [by, most] = [by, self.number(bits - 1, width)].map(|operand| self.register(operand));
        let by = self.computed(AND, by, Operand::Reg(most));
        let bits = self.number(bits, width);
        let bits = self.register(bits);
        let high = self.computed(left(width), x, Operand::Reg(by));
        let others = self.computed(subtract(width), bits, Operand::Reg(by));
        let low = self.computed(right(width), x, Operand::Reg(others));
        self.push(Inst::new(OR, to, high, Operand::Reg(low)));
    }

    /// Of 64 bits, from those of halves.
    fn product(&mut self, to: Reg, x: Reg, y: Operand) {
        let (half, y) = (self.number(32, 8), self.register(y));
        let low = self.computed(MULTIPLY_LOW, x, Operand::Reg(y));
        let [one, other] = [(x, y), (y, x)].map(|(x, y)| {
            let high = self.computed(right(8), x, half);
            self.computed(MULTIPLY_LOW, high, Operand::Reg(y))
        });
        let both = self.computed(add(8), one, Operand::Reg(other));
        let high = self.computed(left(8), both, half);
        self.push(Inst::new(add(8), to, low, Operand::Reg(high)));
    }

    /// All bits of the lanes of 64 that are negative.
    fn signs(&mut self, x: Reg) -> Reg {
        let zero = self.number(0, 8);
        let zero = self.register(zero);
        self.computed(greater(true), zero, Operand::Reg(x))
    }

    /// To the right, with copies of the sign, of 64 bits: what is negative has its bits turned before and after.
    fn shifted(&mut self, to: Reg, x: Reg, by: Operand) {
        let signs = self.signs(x);
        let turned = self.computed(XOR, x, Operand::Reg(signs));
        let shifted = self.computed(right(8), turned, by);
        self.push(Inst::new(XOR, to, shifted, Operand::Reg(signs)));
    }

    /// Of 64 bits.
    fn magnitude(&mut self, to: Reg, x: Operand) {
        let x = self.register(x);
        let signs = self.signs(x);
        let turned = self.computed(XOR, x, Operand::Reg(signs));
        self.push(Inst::new(subtract(8), to, turned, Operand::Reg(signs)));
    }

    /// The nearest f64: the halves are bits of 2⁵² + low and of 2⁸⁴ + 2⁶³ + 2³² · high, of which only the last sum rounds.
    fn double(&mut self, to: Reg, x: Operand) {
        const LOW: u64 = 0x4330_0000_0000_0000;
        const HIGH: u64 = 0x4530_0000_8000_0000;
        const BOTH: u64 = 0x4530_0000_8010_0000;
        let x = self.register(x);
        let [mask, low_bits, half, high_bits, both] =
            [u64::from(u32::MAX), LOW, 32, HIGH, BOTH].map(|bits| self.number(bits, 8));
        let low = self.computed(AND, x, mask);
        let low = self.computed(OR, low, low_bits);
        let high = self.computed(right(8), x, half);
        let high = self.computed(XOR, high, high_bits);
        let high = self.computed(Code::float("vsub", 1, 0x5c, 8), high, both);
        self.push(Inst::new(Code::float("vadd", 1, 0x58, 8), to, high, Operand::Reg(low)));
    }
}

/// Products of the lower halves of lanes of 64 bits.
const MULTIPLY_LOW: Code = Code::integer("vpmulud", 1, 0xf4, 8);

const fn left(width: usize) -> Code {
    Code::integer("vpsllv", 2, 0x47, width)
}

const fn right(width: usize) -> Code {
    Code::integer("vpsrlv", 2, 0x45, width)
}

const fn add(width: usize) -> Code {
    Code::integer("vpadd", 1, if width == 8 { 0xd4 } else { 0xfe }, width)
}

const fn subtract(width: usize) -> Code {
    Code::integer("vpsub", 1, if width == 8 { 0xfb } else { 0xfa }, width)
}

const fn equal(is_wide: bool) -> Code {
    if is_wide { Code::integer("vpcmpeq", 2, 0x29, 8) } else { Code::integer("vpcmpeq", 1, 0x76, 4) }
}

const fn greater(is_wide: bool) -> Code {
    if is_wide { Code::integer("vpcmpgt", 2, 0x37, 8) } else { Code::integer("vpcmpgt", 1, 0x66, 4) }
}
