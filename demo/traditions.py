"""Which tradition, and so which collective, a tune belongs to: by the book it was printed in or the place it came from.

The Essen collection names places in German in its `O:` field, from a continent down to a village. The Han Chinese
provinces are grouped into the song areas of Miao Jing and Qiao Jianzhong (1987); a province that they divide goes to
the area that holds most of it. German-speaking Europe is grouped by historical region. A place that fits none of the
names here is not guessed at: the tune is left out, and counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

__all__ = ["BOOKS", "TRADITION_NAMES", "is_book", "tradition_of_place", "tradition_of_tune"]

BY_PLACE: Final = ""  # in BOOKS: the book is of many traditions, and each tune names its place

# The files read, by the beginning of their path in music21's corpus; the first that fits counts.
# The Essen files called "test" are left out: they repeat tunes of the others under places changed to try things out.
BOOKS: Final[Mapping[str, str | None]] = {
    "airdsAirs/": "scottish",  # "Scotch, English, Irish and Foreign Airs", Glasgow, 1778 to 1801
    "essenFolksong/folkHaydn": "scottish",  # Haydn's Scottish songs, which the file puts in Germany
    "essenFolksong/test": None,
    "essenFolksong/": BY_PLACE,
    "miscFolk/americanfife": "american-fife",
    "miscFolk/northumbrian": "northumbrian",  # Bruce and Stokoe, Northumbrian Minstrelsy, 1882
    "oneills1850/": "irish",  # O'Neill's Music of Ireland, Chicago, 1903
    "ryansMammoth/": "new-england",  # Ryan's Mammoth Collection, Boston, 1883
}
# What Aird and Ryan print over single tunes, in the origin or composer field.
_MARKS: Final[Mapping[str, str]] = {"irish": "irish", "scotch": "scottish", "highland": "scottish"}

TRADITION_NAMES: Final[Mapping[str, str]] = {
    "alsace": "Alsace",
    "american-fife": "American fife music",
    "austria": "Austria and Tyrol",
    "bavaria-franconia": "Bavaria and Franconia",
    "bohemia-moravia": "Bohemia, Moravia, Slovakia",
    "brandenburg": "Brandenburg and Berlin",
    "danube": "Hungary, Transylvania, Danube",
    "eastern-europe": "Poland, Ukraine, Volga",
    "german": "German, region not given",
    "gottschee": "Gottschee (Slovenia)",
    "han-gan": "Han: Jiangxi",
    "han-jianghan": "Han: Hubei",
    "han-jianghuai": "Han: Anhui",
    "han-jiangzhe": "Han: Jiangsu, Zhejiang",
    "han-min-tai": "Han: Fujian, Taiwan",
    "han-northeast-plains": "Han: north-eastern plains",
    "han-northwest-plateau": "Han: north-western plateau",
    "han-southwest": "Han: south-western plateau",
    "han-xiang": "Han: Hunan",
    "han-yue": "Han: Guangdong, Guangxi",
    "hesse": "Hesse and Nassau",
    "irish": "Ireland",
    "lorraine": "Lorraine",
    "low-countries": "Netherlands and Flanders",
    "luxembourg": "Luxembourg",
    "new-england": "New England",
    "nordic": "Nordic countries",
    "north-german-coast": "North Germany",
    "northumbrian": "Northumbria",
    "pomerania-prussia": "Pomerania and Prussia",
    "rhineland": "Rhineland",
    "saxony-thuringia": "Saxony and Thuringia",
    "scottish": "Scotland",
    "silesia": "Silesia",
    "swabia-baden-palatinate": "Swabia, Baden, Palatinate",
    "switzerland": "Switzerland",
    "westphalia": "Westphalia",
}

# Patterns of place names as the collections write them. Regions are looked for before countries, because the
# collections write "Deutschland / Polen, Schlesien"; of several, the one named first counts.
_REGIONS: Final[Mapping[str, str]] = {
    "alsace": "Elsass|Strassburg|Sundgau|Wasgau",
    "austria": "Oesterreich|[Tt]irol|Steiermark|Kaernten|Salzburg|Burgenland|Vorarlberg",
    "bavaria-franconia": "Bayer|bayern|Oberpfalz|Regensburg|[Ff]ranken|Spessart|Nuernberg|Wuerzburg|Schweinfurt|Coburg",
    "bohemia-moravia": "Kuhlaendchen|Boehmen|Maehren|[Ss]udeten|[Zz]ips|Slowakei",
    "brandenburg": r"Brandenburg|Berlin|Uckermark|Altmark|\bMark\b|Mittelmark|Vormark|Oderb|Oder\b|Gransee|Priegnitz"
    "|Ruppin|Potsdam|Wilsnack|Spandau",
    "danube": "Siebenbuergen|Bukowina|Banat|Batschka|Sathmar",
    "eastern-europe": "Galizien|Ukraine|Bessarabien|Wolga|Krim|Estland|Baltikum",
    "gottschee": "Gottschee",
    "han-gan": "Jiangxi|Jianxi",
    "han-jianghan": "Hubei",
    "han-jianghuai": "Anhui",
    "han-jiangzhe": "Jiangsu|Zhejiang",
    "han-min-tai": "Fujian|Taiwan",
    "han-northeast-plains": "Hebei|Shandong|Henan|Liaoning|Heilongjiang|Jilin|Dongbei",
    "han-northwest-plateau": "Shanxi|Shaanxi|Gansu|Ningxia|Qinghai|Neimeng",
    "han-southwest": "Sichuan|Yunnan|Guizhou",
    "han-xiang": "Hunan",
    "han-yue": "Guangdong|Guangxi|Hainan|Heinan",
    "hesse": r"Hessen|Kassel|Odenwald|Wetterau|Darmstadt|[Tt]aunus|Nassau|Westerwald|Lahn|lahnkreis|Dillkreis|Wetzlar"
    r"|Limburg|Frankfurt a\.M|Fulda|Bergstrasse|Marburg|Vogelsberg",
    "lorraine": "Lothringen",
    "low-countries": "flaemisch|Flandern|Brabant",
    "north-german-coast": "Schleswig|Holstein|Hannover|Niedersachsen|Helgoland|Friesland|Oldenburg|Mecklenburg"
    "|Nord - D|Norddeutsch|Niederdeutsch|Nordsee|Goettingen|Weser|Harz",
    "pomerania-prussia": "Pommern|Ruegen|Greifswald|Stettin|Anclam|[Pp]reussen|Danzig|Koenigsberg",
    "rhineland": r"Niederrhein|Mittelrhein|Rhein\b|Rheinland|Rheinprovinz|Koeln|\bBonn\b|Bergisches|Herzogtum Berg"
    "|Siebengebirge|Eifel|Mosel|Kleve|Meurs|Moers|Trier|Elberfeld|Barmen|Hunsrueck|Hochwald|Saarland",
    "saxony-thuringia": r"Thueringen|Erfurt|Weimar|Hildburghausen|Meiningen|\bJena\b|Sachsen|Dresden|\bHalle\b"
    "|Vogtland|[Ll]ausitz|Magdeburg|Weissenfels|Zwickau|Zerbst",
    "silesia": "[Ss]chlesien|Breslau|Liegnitz|Neisse",
    "swabia-baden-palatinate": r"Schwaben|Wuerttemberg|Stuttgart|\bUlm\b|\bBaden\b|Schwarzwald|Heidelberg|Oberrhein"
    "|Rheinpfalz|Rheinbayern|Pfalz|Kaiserslautern",
    "westphalia": "Westfalen|Muenster|Paderborn|Soest|Siegen|Lippe|Ruhr",
}
_COUNTRIES: Final[Mapping[str, str]] = {
    "bohemia-moravia": "Tschechoslowakei",
    "danube": "Ungarn|Rumaenien|Jugoslawien",
    "eastern-europe": "Polen|UdSSR|Russland",
    "german": "Deutsch",
    "irish": "Irland",
    "low-countries": "Niederlande",
    "luxembourg": "Luxemburg",
    "nordic": "Schweden|Daenemark|Norwegen|Island",
    "switzerland": "Schweiz|Wallis|Emmenthal|Appenzell|Oberhasli|Entlebu",
}


def is_book(path: str) -> bool:
    """Tell whether a file, by its path in the corpus, is one that `BOOKS` has read."""
    return _book(path) is not None


def tradition_of_tune(path: str, fields: Mapping[str, str]) -> str | None:
    """The tradition of a tune from its file's path in the corpus and its header fields, or None if it has none."""
    book = _book(path)
    if book == BY_PLACE:
        return tradition_of_place(fields.get("O", ""))
    if path.startswith(("airdsAirs/", "ryansMammoth/")):
        printed = f"{fields.get('O', '')} {fields.get('C', '')}".lower()
        return next((tradition for mark, tradition in _MARKS.items() if mark in printed), book)
    return book


@lru_cache(maxsize=4096)
def tradition_of_place(place: str) -> str | None:
    """Return the tradition of a place as the Essen collection writes it, or None if no name in it is known."""
    return _first_named(_REGIONS, place) or _first_named(_COUNTRIES, place)


def _book(path: str) -> str | None:
    return next((tradition for prefix, tradition in BOOKS.items() if path.startswith(prefix)), None)


def _first_named(patterns: Mapping[str, str], place: str) -> str | None:
    found = ((re.search(pattern, place), tradition) for tradition, pattern in patterns.items())
    named = [(match.start(), tradition) for match, tradition in found if match is not None]
    return min(named)[1] if named else None
