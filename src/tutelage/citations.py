"""Whom to cite: the papers that tables, recipes and reports name by key."""

import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """One paper.

    Attributes:
        title: as its authors spell it.
        authors: full names in the paper's order.
        year: of the venue, or of the preprint where there is none.
        venue: conference, journal or ``arXiv preprint``.
        arxiv: arXiv number, or None.
        doi: digital object identifier, or None.
    """

    title: str
    authors: tuple[str, ...]
    year: int
    venue: str
    arxiv: str | None = None
    doi: str | None = None

    def __str__(self) -> str:
        where = self.venue + (f", arXiv:{self.arxiv}" if self.arxiv else "")
        return f"{self.short_authors} {self.year}, {self.title} ({where})"

    @property
    def short_authors(self) -> str:
        """Last names as a sentence has them: one, ``one and another``, or ``one et al.``."""
        names = [author.split()[-1] for author in self.authors]
        return f"{names[0]} et al." if len(names) > 2 else " and ".join(names)

    @property
    def all_authors(self) -> str:
        """Full names as a list of references has them."""
        *most, last = self.authors
        return f"{', '.join(most)} and {last}" if most else last

    def bibtex(self) -> str:
        """A BibTeX entry; its key is first author, year and first long word of the title."""
        kind, holder = ("article", "journal") if self.is_journal else ("inproceedings", "booktitle")
        lines = [
            ("title", f"{{{self.title}}}"),
            ("author", " and ".join(self.authors)),
            (holder, self.venue),
            ("year", str(self.year)),
        ]
        if self.arxiv:
            lines += [("eprint", self.arxiv), ("archivePrefix", "arXiv")]
        if self.doi:
            lines.append(("doi", self.doi))
        body = "".join(f"  {name} = {{{text}}},\n" for name, text in lines)
        return f"@{kind}{{{self._bibtex_key},\n{body}}}\n"

    @property
    def is_journal(self) -> bool:
        """Whether it is an article of a journal or a preprint, not a paper of a conference."""
        return any(word in self.venue for word in ("arXiv", "Transactions", "Entropy", "Statistics"))

    @property
    def _bibtex_key(self) -> str:
        long_word = next(word for word in self.title.replace("-", " ").split() if len(word) > 3)
        text = f"{self.authors[0].split()[-1]}{self.year}{long_word}".lower()
        plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
        return "".join(letter for letter in plain if letter.isalnum())


def _paper(
    title: str, authors: str, year: int, venue: str, arxiv: str | None = None, doi: str | None = None
) -> Paper:
    return Paper(title, tuple(authors.split(", ")), year, venue, arxiv, doi)


PAPERS: dict[str, Paper] = {
    "minillm": _paper(
        "MiniLLM: Knowledge Distillation of Large Language Models",
        "Yuxian Gu, Li Dong, Furu Wei, Minlie Huang",
        2024,
        "ICLR 2024",
        "2306.08543",
    ),
    "f-distill": _paper(
        "f-Divergence Minimization for Sequence-Level Knowledge Distillation",
        "Yuqiao Wen, Zichao Li, Wenyu Du, Lili Mou",
        2023,
        "ACL 2023, pages 10817-10834",
        "2307.15190",
    ),
    "delta-kd": _paper(
        "Delta Knowledge Distillation for Large Language Models",
        "Yihan Cao, Yanbin Kang, Zhengming Xing, Ruijie Jiang",
        2025,
        "arXiv preprint",
        "2509.14526",
    ),
    "taid": _paper(
        "TAID: Temporally Adaptive Interpolated Distillation for Efficient Knowledge Transfer in "
        "Language Models",
        "Makoto Shing, Kou Misaki, Han Bao, Sho Yokoi, Takuya Akiba",
        2025,
        "ICLR 2025",
        "2501.16937",
    ),
    "dnkd": _paper(
        "Decouple Non-parametric Knowledge Distillation For End-to-end Speech Translation",
        "Hao Zhang, Nianwen Si, Yaqi Chen, Wenlin Zhang, Xukui Yang, Dan Qu, Zhen Li",
        2023,
        "ICASSP 2023",
        "2304.10295",
    ),
    "causal-unlearning": _paper(
        "Revisiting Who's Harry Potter: Towards Targeted Unlearning from a Causal Intervention Perspective",
        "Yujian Liu, Yang Zhang, Tommi Jaakkola, Shiyu Chang",
        2024,
        "EMNLP 2024, pages 8708-8731",
        "2407.16997",
    ),
    "hot-pate": _paper(
        "Hot PATE: Private Aggregation of Distributions for Diverse Tasks",
        "Edith Cohen, Benjamin Cohen-Wang, Xin Lyu, Jelani Nelson, Tamas Sarlos, Uri Stemmer",
        2026,
        "ICLR 2026",
        "2312.02132",
    ),
    "phi-s": _paper(
        "PHI-S: Distribution Balancing for Label-Free Multi-Teacher Distillation",
        "Mike Ranzinger, Jon Barker, Greg Heinrich, Pavlo Molchanov, Jan Kautz, Bryan Catanzaro, Andrew Tao",
        2024,
        "arXiv preprint",
        "2410.01680",
    ),
    "constrained-weights": _paper(
        "A theory of learning with constrained weight-distribution",
        "Weishun Zhong, Ben Sorscher, Daniel D. Lee, Haim Sompolinsky",
        2022,
        "NeurIPS 2022",
        "2206.08933",
    ),
    "distillation-scaling-laws": _paper(
        "Distillation Scaling Laws",
        "Dan Busbridge, Amitis Shidani, Floris Weers, Jason Ramapuram, Etai Littwin, Russ Webb",
        2025,
        "ICML 2025",
        "2502.08606",
    ),
    "hinton": _paper(
        "Distilling the Knowledge in a Neural Network",
        "Geoffrey Hinton, Oriol Vinyals, Jeff Dean",
        2015,
        "arXiv preprint",
        "1503.02531",
    ),
    "gkd": _paper(
        "On-Policy Distillation of Language Models: Learning from Self-Generated Mistakes",
        "Rishabh Agarwal, Nino Vieillard, Yongchao Zhou, Piotr Stanczyk, Sabela Ramos, Matthieu Geist, "
        "Olivier Bachem",
        2024,
        "ICLR 2024",
        "2306.13649",
    ),
    "seqkd": _paper(
        "Sequence-Level Knowledge Distillation",
        "Yoon Kim, Alexander M. Rush",
        2016,
        "EMNLP 2016, pages 1317-1327",
        "1606.07947",
    ),
    "engine": _paper(
        "ENGINE: Energy-Based Inference Networks for Non-Autoregressive Machine Translation",
        "Lifu Tu, Richard Yuanzhe Pang, Sam Wiseman, Kevin Gimpel",
        2020,
        "ACL 2020, pages 2819-2826",
        "2005.00850",
    ),
    "distillm": _paper(
        "DistiLLM: Towards Streamlined Distillation for Large Language Models",
        "Jongwoo Ko, Sungnyun Kim, Tianyi Chen, Se-Young Yun",
        2024,
        "ICML 2024",
        "2402.03898",
    ),
    "distillm-2": _paper(
        "DistiLLM-2: A Contrastive Approach Boosts the Distillation of LLMs",
        "Jongwoo Ko, Tianyi Chen, Sungnyun Kim, Tianyu Ding, Luming Liang, Ilya Zharkov, Se-Young Yun",
        2025,
        "ICML 2025",
        "2503.07067",
    ),
    "amid": _paper(
        "AMiD: Knowledge Distillation for LLMs with alpha-mixture Assistant Distribution",
        "Donghyeok Shin, Yeongmin Kim, Suhyeon Jo, Byeonghu Na, Il-Chul Moon",
        2026,
        "ICLR 2026",
        "2510.15982",
    ),
    "mean-teacher": _paper(
        "Mean teachers are better role models: Weight-averaged consistency targets improve semi-supervised "
        "deep learning results",
        "Antti Tarvainen, Harri Valpola",
        2017,
        "NIPS 2017",
        "1703.01780",
    ),
    "context-distillation": _paper(
        "A General Language Assistant as a Laboratory for Alignment",
        "Amanda Askell, Yuntao Bai, Anna Chen, Dawn Drain, Deep Ganguli, Tom Henighan, Andy Jones, "
        "Nicholas Joseph, Ben Mann, Nova DasSarma, Nelson Elhage, Zac Hatfield-Dodds, Danny Hernandez, "
        "Jackson Kernion, Kamal Ndousse, Catherine Olsson, Dario Amodei, Tom Brown, Jack Clark, "
        "Sam McCandlish, Chris Olah, Jared Kaplan",
        2021,
        "arXiv preprint",
        "2112.00861",
    ),
    "distilling-context": _paper(
        "Learning by Distilling Context",
        "Charlie Snell, Dan Klein, Ruiqi Zhong",
        2022,
        "arXiv preprint",
        "2209.15189",
    ),
    "dkd": _paper(
        "Decoupled Knowledge Distillation",
        "Borui Zhao, Quan Cui, Renjie Song, Yiyu Qiu, Jiajun Liang",
        2022,
        "CVPR 2022, pages 11943-11952",
        "2203.08679",
    ),
    "ctkd": _paper(
        "Curriculum Temperature for Knowledge Distillation",
        "Zheng Li, Xiang Li, Lingfeng Yang, Borui Zhao, Renjie Song, Lei Luo, Jun Li, Jian Yang",
        2023,
        "AAAI 2023",
        "2211.16231",
    ),
    "logit-standardisation": _paper(
        "Logit Standardization in Knowledge Distillation",
        "Shangquan Sun, Wenqi Ren, Jingzhi Li, Rui Wang, Xiaochun Cao",
        2024,
        "CVPR 2024",
        "2403.01427",
    ),
    "akl": _paper(
        "Rethinking Kullback-Leibler Divergence in Knowledge Distillation for Large Language Models",
        "Taiqiang Wu, Chaofan Tao, Jiahao Wang, Runming Yang, Zhe Zhao, Ngai Wong",
        2025,
        "COLING 2025, pages 5737-5755",
        "2404.02657",
    ),
    "jensen-shannon": _paper(
        "Divergence measures based on the Shannon entropy",
        "Jianhua Lin",
        1991,
        "IEEE Transactions on Information Theory 37(1)",
        doi="10.1109/18.61115",
    ),
    "alpha-divergence": _paper(
        "Families of Alpha- Beta- and Gamma- Divergences: Flexible and Robust Measures of Similarities",
        "Andrzej Cichocki, Shun-ichi Amari",
        2010,
        "Entropy 12(6)",
        doi="10.3390/e12061532",
    ),
}
"""Every paper that an entry, a recipe or a report may name."""
